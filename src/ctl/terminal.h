/* Terminal: standard input in raw mode, and put right again however the program ends.
 *
 * There is one, of the process. From terminal_raw on it is restored by terminal_restore, by exit, and by the
 * signals that end the program; a stop from outside (SIGTSTP) restores it for as long. Only SIGKILL and
 * SIGSTOP leave it raw. */
#ifndef VSPC_CTL_TERMINAL_H
#define VSPC_CTL_TERMINAL_H

#include <stdbool.h>

/* Every key comes at once and as it is, and is not echoed; no signal comes from the keyboard. Result: false
 * when standard input is no terminal. */
bool terminal_raw(void);
void terminal_restore(void);

/* Standard output to write to without ever waiting, where it is a terminal or a pipe; anything else is
 * standard output itself. The caller closes it when it is another descriptor. */
int terminal_output(void);

#endif

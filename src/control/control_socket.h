/* Control socket: the file at which the control socket listens. Main's.
 *
 * Beside it lies `<path>.lock`, locked for as long as a vspcd serves the socket: so two that start at once do
 * not both take a socket that a killed one has left. The lock file stays where it is. */
#ifndef VSPC_CONTROL_SOCKET_H
#define VSPC_CONTROL_SOCKET_H

#include <sys/types.h>

struct control_socket {
    int fd;   /* listening, non-blocking; -1: none */
    int lock; /* or -1 */
    char *path;
    dev_t device; /* of the file, to know it again */
    ino_t inode;
};

/* Listens at path, mode 0660 and group vspc. One warning says what is wrong, if anything is, and how to cure
 * it. socket->fd is -1 then, unless it is only the group. */
void control_socket_open(struct control_socket *socket, const char *path);
/* Closes, and removes the file unless it is somebody else's by now. */
void control_socket_close(struct control_socket *socket);

#endif

/* State directory: which vspcd it belongs to. One lock file in it, for as long as the process lives, however
 * it ends. Main's thread. */
#ifndef VSPC_STATE_DIR_H
#define VSPC_STATE_DIR_H

/* Locks `dir`/vspcd.lock, which then holds this process's id as text. What is wrong is logged: an error that
 * names the holder when another process has it, else a warning.
 * Result: a descriptor, whose closing unlocks; -EWOULDBLOCK when another has it; -ENOENT or
 * -ENOTDIR when there is no such directory, and nothing can be kept; another negative errno when it cannot be
 * locked. */
int state_dir_lock(const char *dir);

#endif

/* State directory: which vspcd it belongs to. One lock file in it, for as long as the process lives, however
 * it ends. Main's thread. */
#ifndef VSPC_STATE_DIR_H
#define VSPC_STATE_DIR_H

/* Locks `dir`/vspcd.lock, which then holds this process's id as text. What is wrong is logged: an error that
 * names the holder when another process has it, else a warning. A thread waits for the disk, and the caller
 * for that thread, at most timeout_ms. Result: a descriptor, whose closing unlocks; -EBUSY when another has
 * it; -ENOENT or -ENOTDIR when there is no such directory, and nothing can be kept; -ETIMEDOUT, the thread is
 * stuck in the disk and left behind: nothing may be written, as the lock is not known to be ours, and the
 * process must end by _exit; another negative errno when it cannot be locked. */
int state_dir_lock(const char *dir, unsigned timeout_ms);

#endif

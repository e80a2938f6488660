/* Mounts: a test's own, for disks that are small, full or read-only. */
#ifndef VSPC_TEST_MOUNTS_H
#define VSPC_TEST_MOUNTS_H

/* Gives this process, and what it starts from now on, mounts of its own. Skips the test, and says so, where
 * that is not allowed. */
void mounts_unshare(void);

/* Writes zeros into a new file until the disk is full. */
void mounts_fill(const char *path);

#endif

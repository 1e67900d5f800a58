/* Loaded into the ingest process in place of the C library's: each sync fails with EIO as long as the file that QUESTLOG_TEST_FAILING_SYNC names is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *flag;

__attribute__((constructor)) static void find_flag(void)
{
  const char *role = getenv("QUESTLOG_ROLE");
  if (role != NULL && strstr(role, "\"role\":\"ingest\"") != NULL)
    flag = getenv("QUESTLOG_TEST_FAILING_SYNC");
}

static int sync_or_fail(const char *name, int fd)
{
  int (*next)(int);
  if (flag != NULL && access(flag, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  *(void **)&next = dlsym(RTLD_NEXT, name);
  return next(fd);
}

int fsync(int fd)
{
  return sync_or_fail("fsync", fd);
}

int fdatasync(int fd)
{
  return sync_or_fail("fdatasync", fd);
}

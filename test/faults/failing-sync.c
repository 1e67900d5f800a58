/* Loaded into the ingest process in place of the C library's: each sync fails with EIO as long as the file that QUESTLOG_TEST_FAILING_SYNC names is there,
   and takes QUESTLOG_TEST_SYNC_DELAY_US microseconds longer than it would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *flag;
static useconds_t delay;

__attribute__((constructor)) static void find_flag(void)
{
  const char *role = getenv("QUESTLOG_ROLE");
  if (role == NULL || strstr(role, "\"role\":\"ingest\"") == NULL) return;
  flag = getenv("QUESTLOG_TEST_FAILING_SYNC");
  const char *delayed = getenv("QUESTLOG_TEST_SYNC_DELAY_US");
  if (delayed != NULL) delay = (useconds_t)atoi(delayed);
}

static int sync_or_fail(const char *name, int fd)
{
  int (*next)(int);
  if (flag != NULL && access(flag, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  if (delay > 0) usleep(delay);
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

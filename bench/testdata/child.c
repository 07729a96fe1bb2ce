/* One child of a supervisor under test: it says who and when it is, at once,
 * and waits. Static and without a runtime, so that what is measured is the
 * supervisor. Usage: child FILE NAME */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec t;
	char line[256];

	clock_gettime(CLOCK_MONOTONIC, &t);
	int fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0644);
	int n = snprintf(line, sizeof line, "%s %d %lld\n", argc > 2 ? argv[2] : "?", getpid(),
			 (long long)t.tv_sec * 1000000000 + t.tv_nsec);
	if (fd < 0 || write(fd, line, n) != n)
		return 1;
	close(fd);
	for (;;)
		pause();
}

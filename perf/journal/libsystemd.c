/* The loop every reader built on libsystemd has: MESSAGE of every entry, as the yardstick of perf/journal/run.
 *
 *   cc -O2 -o libsystemd libsystemd.c $(pkg-config --cflags --libs libsystemd)
 *   ./libsystemd DIR [IDENTIFIER]
 */
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-journal.h>

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    sd_journal *journal;
    char match[256];
    uint64_t entries = 0, bytes = 0, sum = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: libsystemd DIR [IDENTIFIER]\n");
        return 2;
    }
    double before = cpu();
    if (sd_journal_open_directory(&journal, argv[1], 0) < 0) {
        fprintf(stderr, "%s: cannot be opened\n", argv[1]);
        return 1;
    }
    if (argc > 2) {
        snprintf(match, sizeof match, "SYSLOG_IDENTIFIER=%s", argv[2]);
        sd_journal_add_match(journal, match, 0);
    }
    while (sd_journal_next(journal) > 0) {
        const void *data;
        size_t length;
        entries++;
        if (sd_journal_get_data(journal, "MESSAGE", &data, &length) == 0) {
            bytes += length - 8;
            sum += length > 8 ? ((const unsigned char *)data)[length - 1] : 0;
        }
    }
    struct rusage usage;
    double used = cpu() - before;
    getrusage(RUSAGE_SELF, &usage);
    printf("entries=%lu bytes=%lu sum=%lu cpu=%.4f peak_kib=%ld backend=libsystemd\n", entries, bytes, sum, used,
           usage.ru_maxrss);
    sd_journal_close(journal);
    return 0;
}

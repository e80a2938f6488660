/* A runner for Criterion's tests in sanitizer builds, instead of Criterion's own.
 *
 * Criterion starts each test through BoxFort, whose shared arena thread sanitizer does not allow ("Could not
 * initialize inheritable arena"), and takes no notice of how a test's process ends once the test has passed,
 * which is when leaks and races are counted. This one forks for each test, and what the process exits with
 * decides. It knows what these tests use: assertions, fixtures, suites, timeouts, expected signals and exit
 * codes, skipping. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the linker puts Test() and TestSuite(). */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

enum { SKIPPED = 77, FAILED = 1 };

struct job {
    const struct criterion_test *test;
    pid_t pid;
};

/* In a test's process: */
static const struct criterion_test *current;
static jmp_buf end_of_test;
static bool failed, skipped;

static const struct criterion_test_extra_data *suite_of(const struct criterion_test *test)
{
    for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++)
        if (*suite && strcmp((*suite)->name, test->category) == 0)
            return (*suite)->data;
    return NULL;
}

/* What Test() calls, in this order. */
void criterion_internal_test_setup(void)
{
    const struct criterion_test_extra_data *suite = suite_of(current);
    if (suite && suite->init)
        suite->init();
    if (current->data->init)
        current->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
    if (setjmp(end_of_test) == 0)
        fn();
}

void criterion_internal_test_teardown(void)
{
    const struct criterion_test_extra_data *suite = suite_of(current);
    if (current->data->fini)
        current->data->fini();
    if (suite && suite->fini)
        suite->fini();
}

/* What assertions call. */
void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (stats->passed)
        return;
    failed = true;
    fprintf(stderr, "[----] %s:%u: Assertion Failed\n[----]   %s\n", stats->file, stats->line,
            stats->message ? stats->message : "");
}

void cri_assert_node_send(const char *file, size_t line, struct cri_assert_node *tree)
{
    failed = true;
    fprintf(stderr, "[----] %s:%zu: Assertion Failed\n[----]   %s\n", file, line,
            tree->message ? tree->message : tree->repr);
}

void cri_asserts_passed_incr(void)
{
}

void criterion_abort_test(void)
{
    failed = true;
    longjmp(end_of_test, 1);
}

void criterion_continue_test(void)
{
}

void criterion_skip_test(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "[SKIP] %s::%s: ", current->category, current->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    skipped = true;
    longjmp(end_of_test, 1);
}

void criterion_test_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(FAILED);
}

static double timeout_of(const struct criterion_test *test)
{
    const struct criterion_test_extra_data *suite = suite_of(test);
    if (test->data->timeout != 0)
        return test->data->timeout;
    return suite ? suite->timeout : 0;
}

/* Runs after all that the test has left for exit, and before leaks are looked for, which a test that stopped
 * in the middle has, and which would only bury why it stopped. */
static void skip_leak_check(void)
{
    fflush(NULL);
    if (failed)
        _exit(FAILED);
}

/* Runs one test in this process, which ends with it. */
static void __attribute__((noreturn)) run_test(const struct criterion_test *test)
{
    current = test;
    if (test->data->kind_ != CR_TEST_NORMAL)
        criterion_test_die("%s::%s: fork_main.c runs no parameterized tests", test->category, test->name);
    if (timeout_of(test) > 0)
        alarm((unsigned)timeout_of(test) + 1);
    atexit(skip_leak_check);
    test->test();
    /* By exit, not _exit: it is there that sanitizers report what they have found. */
    exit(failed ? FAILED : skipped ? SKIPPED : test->data->exit_code);
}

/* Whether a test's process has ended as it should. Prints why not. */
static bool has_passed(const struct criterion_test *test, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        return true;
    if (test->data->signal ? WIFSIGNALED(status) && WTERMSIG(status) == test->data->signal
                           : WIFEXITED(status) && WEXITSTATUS(status) == test->data->exit_code)
        return true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("[FAIL] %s::%s: Timed out.\n", test->category, test->name);
    else if (WIFSIGNALED(status))
        printf("[FAIL] %s::%s: CRASH! %s\n", test->category, test->name, strsignal(WTERMSIG(status)));
    else
        printf("[FAIL] %s::%s (exit status %d)\n", test->category, test->name, WEXITSTATUS(status));
    return false;
}

static bool is_wanted(const struct criterion_test *test, const char *filter)
{
    char name[512];
    const struct criterion_test_extra_data *suite = suite_of(test);
    if (test->data->disabled || (suite && suite->disabled))
        return false;
    snprintf(name, sizeof name, "%s/%s", test->category, test->name);
    return !filter || fnmatch(filter, name, 0) == 0;
}

static int by_name(const void *a, const void *b)
{
    const struct criterion_test *x = *(struct criterion_test *const *)a,
                                *y = *(struct criterion_test *const *)b;
    int order = strcmp(x->category, y->category);
    return order ? order : strcmp(x->name, y->name);
}

static void start(struct job *job, const struct criterion_test *test)
{
    fflush(NULL);
    job->test = test;
    job->pid = fork();
    if (job->pid < 0) {
        perror("fork");
        exit(FAILED);
    }
    if (job->pid)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    run_test(test);
}

/* Waits for one of the jobs. Result: true when it passed. */
static bool finish_one(struct job *jobs, size_t max)
{
    int status;
    pid_t pid;
    do
        pid = wait(&status);
    while (pid < 0 && errno == EINTR);
    for (size_t i = 0; i < max; i++) {
        if (jobs[i].pid != pid)
            continue;
        jobs[i].pid = 0;
        return has_passed(jobs[i].test, status);
    }
    return true;
}

/* Runs the n tests, at most `max` at a time. Result: how many failed. */
static unsigned run_all(struct criterion_test **tests, size_t n, size_t max)
{
    struct job *jobs = calloc(max, sizeof *jobs);
    unsigned failures = 0;
    size_t running = 0;
    for (size_t i = 0; i < n || running;) {
        if (i < n && running < max) {
            size_t place = 0;
            while (jobs[place].pid)
                place++;
            start(&jobs[place], tests[i++]);
            running++;
        } else {
            failures += !finish_one(jobs, max);
            running--;
        }
    }
    free(jobs);
    return failures;
}

static size_t cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"filter", required_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'},
        {"list", no_argument, NULL, 'l'},
        {"verbose", optional_argument, NULL, 'v'},
        {0},
    };
    const char *filter = NULL;
    size_t max = cpus();
    bool list = false;
    int c;
    while ((c = getopt_long(argc, argv, "j:lv", options, NULL)) != -1) {
        if (c == 'f')
            filter = optarg;
        else if (c == 'j')
            max = (size_t)atoi(optarg) > 0 ? (size_t)atoi(optarg) : max;
        else if (c == 'l')
            list = true;
        else if (c != 'v')
            return 2;
    }
    size_t n = 0, all = (size_t)(__stop_cr_tst - __start_cr_tst);
    struct criterion_test **tests = calloc(all + 1, sizeof(struct criterion_test *));
    for (size_t i = 0; i < all; i++)
        if (__start_cr_tst[i] && is_wanted(__start_cr_tst[i], filter))
            tests[n++] = __start_cr_tst[i];
    qsort(tests, n, sizeof(struct criterion_test *), by_name);
    for (size_t i = 0; list && i < n; i++)
        printf("%s/%s\n", tests[i]->category, tests[i]->name);
    unsigned failures = list ? 0 : run_all(tests, n, max);
    if (!list)
        printf("[====] Synthesis: Tested: %zu | Passing: %zu | Failing: %u\n", n, n - failures, failures);
    free(tests);
    return failures ? 1 : 0;
}

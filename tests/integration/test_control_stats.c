/* Figures, against what happened; and the text that Prometheus reads. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "redis.h"
#include "vm.h"

TestSuite(control_stats, .timeout = 240);

static double figure(struct control_link *link, const char *path)
{
    json_t *answer = control_link_must(link, "'command':'stats'");
    char *whole = xasprintf("stats.%s", path);
    const json_t *value = control_member(answer, whole);
    cr_assert(json_is_number(value), "no figure %s", path);
    double number = json_number_value(value);
    free(whole);
    json_decref(answer);
    return number;
}

static void wait_figure(struct control_link *link, const char *path, double wanted)
{
    double value = 0;
    WAIT_FOR((value = figure(link, path)) == wanted, SOON, "%s is %f instead of %f", path, value, wanted);
}

Test(control_stats, descriptors_and_processor_time_are_counted)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct control_link *link = control_link_open(d);
    double left = figure(link, "vspc_descriptors_left");
    cr_assert_eq(figure(link, "vspc_descriptors_used"), 0);
    struct vm_link *vm = vm_start_named(d, "vm1");
    cr_assert_eq(figure(link, "vspc_descriptors_used"), 2);
    cr_assert_eq(figure(link, "vspc_descriptors_left"), left - 2);
    cr_assert_eq(figure(link, "vspc_control_clients"), 1);
    cr_assert_gt(figure(link, "vspc_worker_cpu_seconds_total.0"), 0);
    cr_assert_gt(figure(link, "vspc_worker_cpu_seconds_total.1"), 0);
    cr_assert_gt(figure(link, "process_resident_memory_bytes"), 1e6);
    cr_assert_gt(figure(link, "process_start_time_seconds"), 1.7e9);
    control_link_do(link, "'command':'drain'");
    cr_assert_eq(figure(link, "vspc_draining"), 1);
    vm_stop(vm);
    control_link_close(link);
    daemon_stop(d);
}

Test(control_stats, redis_and_what_waits_for_it)
{
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, redis);
    daemon_start(d);
    struct control_link *link = control_link_open(d);
    wait_figure(link, "vspc_redis_up", 1);
    struct vm_link *vm = vm_start_named(d, "vm1");
    wait_figure(link, "vspc_mapping_queue_length", 0);
    cr_assert_eq(figure(link, "vspc_mapping_queue_age_seconds"), 0);
    redis_stop(redis);
    wait_figure(link, "vspc_redis_up", 0);
    struct vm_link *other = vm_start_named(d, "vm2");
    wait_figure(link, "vspc_mapping_queue_length", 1);
    WAIT_FOR(figure(link, "vspc_mapping_queue_age_seconds") > 0.1, SOON, "what waits does not get older");
    cr_assert_eq(figure(link, "vspc_redis_reconnects_total"), 0);
    redis_restart(redis);
    wait_figure(link, "vspc_redis_up", 1);
    wait_figure(link, "vspc_redis_reconnects_total", 1);
    wait_figure(link, "vspc_mapping_queue_length", 0);
    vm_stop(vm);
    vm_stop(other);
    control_link_close(link);
    daemon_stop(d);
}

Test(control_stats, a_worker_that_is_stuck_shows_in_its_latency)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct control_link *link = control_link_open(d);
    WAIT_FOR(figure(link, "vspc_worker_latency_seconds.1") > 0, SOON, "no latency is measured");
    daemon_freeze_thread(d, "worker-1");
    WAIT_FOR(figure(link, "vspc_worker_latency_seconds.1") > 1, SOON, "a stuck worker does not show");
    cr_assert_lt(figure(link, "vspc_worker_latency_seconds.0"),
                 figure(link, "vspc_worker_latency_seconds.1"));
    daemon_thaw_thread(d);
    WAIT_FOR(figure(link, "vspc_worker_latency_seconds.1") < 1, SOON, "it does not come to itself");
    cr_assert_gt(figure(link, "vspc_worker_latency_peak_seconds.1"), 1);
    control_link_close(link);
    daemon_stop(d);
}

/* Runs `promtool check metrics` on the text. Result: what it says, "" when all is well. */
static char *check_metrics(const char *text)
{
    char *in = xasprintf("%s/metrics", env_dir()), *out = xasprintf("%s/promtool", env_dir());
    char *command = xasprintf("promtool check metrics <%s", in);
    FILE *file = fopen(in, "w");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    int fd = open(out, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    int status;
    pid_t pid = env_spawn((char *[]){"sh", "-c", command, NULL}, fd);
    cr_assert(env_wait_exit(pid, &status, SOON));
    close(fd);
    char *said = env_read_file(out, 0, 65536);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "promtool: %s", said);
    free(in);
    free(out);
    free(command);
    return said;
}

Test(control_stats, promtool_finds_nothing_wrong_with_the_text)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct control_link *link = control_link_open(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    json_t *answer = control_link_must(link, "'command':'stats','format':'prometheus'");
    const char *text = control_text(answer, "text");
    char *said = check_metrics(text);
    cr_assert_str_eq(said, "");
    cr_assert_null(strstr(text, "..\n"), "%s", text);
    cr_assert(strstr(text, "\nvspc_build_info{version=\"" VSPC_VERSION "\"} 1\n"));
    cr_assert(strstr(text, "\n# TYPE vspc_descriptors_used gauge\nvspc_descriptors_used 2\n"));
    free(said);
    json_decref(answer);
    vm_stop(vm);
    control_link_close(link);
    daemon_stop(d);
}

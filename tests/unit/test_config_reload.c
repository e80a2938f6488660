/* A config once it is loaded: its defaults, how it is printed, what a reload takes of it, when it is freed.
 */
#include "config_fixture.h"

#include <limits.h>
#include <pthread.h>

#include "vspc/sock.h"

TestSuite(config_default, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_print, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_reload, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_ref, .init = fixture_setup, .fini = fixture_teardown);

static char *host_name(void)
{
    char host[HOST_NAME_MAX + 1];
    cr_assert_eq(gethostname(host, sizeof host), 0);
    return xstrdup(host);
}

Test(config_default, node_id_is_host_name_and_first_vm_port)
{
    char *host = host_name();
    char *wanted = xasprintf("%s:4711", host);
    struct config *config = loads("[vm]\nlisten = 127.0.0.1:4711, 127.0.0.1:4712\n");
    cr_expect_str_eq(config->server.node_id, wanted);
    config_unref(config);
    config = loads("[vm]\nlisten = 127.0.0.1:4711\n[server]\nnode_id = a\n");
    cr_expect_str_eq(config->server.node_id, "a");
    config_unref(config);
    free(wanted);
    free(host);
}

Test(config_default, advertise_is_host_name_or_the_loopback_address)
{
    char *host = host_name();
    struct config *config = loads_override("user.listen=0.0.0.0");
    cr_expect_str_eq(config->server.advertise, host);
    config_unref(config);
    config = loads_override("user.listen=10.0.0.7");
    cr_expect_str_eq(config->server.advertise, host);
    config_unref(config);
    config = loads_override("user.listen=::1");
    cr_expect_str_eq(config->server.advertise, "::1");
    config_unref(config);
    config = loads_override("user.listen=127.1.2.3");
    cr_expect_str_eq(config->server.advertise, "127.1.2.3");
    config_unref(config);
    config = loads_override("server.advertise=consoles.example");
    cr_expect_str_eq(config->server.advertise, "consoles.example");
    config_unref(config);
    free(host);
}

Test(config_default, fields_have_the_documented_values)
{
    char *error;
    struct config *c = config_load(NULL, NULL, 0, &error);
    cr_assert_not_null(c, "%s", error);
    cr_expect(c->server.workers == 0 && c->server.log_level == LOG_LEVEL_INFO);
    cr_expect_str_eq(c->server.state_dir, "/var/lib/vspc");
    cr_assert_eq(c->vm.listen.len, 1);
    char shown[SOCK_TEXT];
    sock_addr_format(&c->vm.listen.items[0], shown);
    cr_expect_str_eq(shown, "0.0.0.0:13370");
    cr_expect(c->vm.handshake_timeout == 10000 && c->vm.vmotion_timeout == 300000 &&
              c->vm.keepalive == 60000);
    cr_expect(c->user.first_port == 20000 && c->user.max_ports == 10000);
    cr_expect(c->user.port_retention == 2592000000 && c->user.linger == 600000);
    cr_expect(c->user.scrollback == 16384 && c->user.backlog == 262144);
    cr_expect(c->user.telnet == TELNET_MODE_AUTO && c->user.keepalive == 60000 && c->user.idle_timeout == 0);
    cr_expect(c->redis.enabled && c->redis.port == 6379 && c->redis.database == 0);
    cr_expect_str_eq(c->redis.host, "127.0.0.1");
    cr_expect_str_eq(c->redis.vm_port_map, "VM:Port");
    cr_expect_str_eq(c->redis.vm_endpoint_map, "VM:Endpoint");
    cr_expect_str_eq(c->redis.vm_uuid_map, "VM:UUID");
    cr_expect(c->user.mode == USER_ACCESS_RW);
    cr_expect_str_eq(c->control.socket, "/run/vspc/control.sock");
    cr_expect_str_eq(c->log.directory, "");
    cr_expect_str_eq(c->log.file, "{uuid}.log");
    cr_expect(c->log.timestamps == LOG_TIMESTAMPS_NONE && c->log.max_size == 0 && c->log.keep == 5);
    cr_expect(!c->log.compress && c->log.file_mode == 0640 && c->log.queue == 16777216);
    config_unref(c);
}

/* A value other than the default for every key. */
static const char other[] =
    "[server]\nworkers = 3\nnode_id = n;1\nadvertise = a\nlog_level = debug\nstate_dir =\n"
    "[vm]\nlisten = 10.0.0.7:1, [fd00::7]:2\nallow = 10.0.0.0/8, fd00::7\nservice_uri = u\n"
    "handshake_timeout = 1ms\nvmotion_timeout = 90s\nkeepalive = 0\n"
    "[user]\nlisten = fd00::8\nallow = 0.0.0.0/0, ::/0\nfirst_port = 1\nmax_ports = 2\nport_retention = 36h\n"
    "linger = 1500ms\nscrollback = 1000B\nbacklog = 1025B\ntelnet = never\nkeepalive = 2min\nidle_timeout = "
    "7d\nmode = ro\n"
    "[redis]\nenabled = no\nhost = h\nport = 2\nunix_socket = /s\nusername = u\npassword_file = /p\n"
    "database = 4\nvm_port_map = p\nvm_endpoint_map = e\nvm_uuid_map = i\nactive_key_prefix = "
    "Active:VM:Port\n"
    "[control]\nsocket =\n"
    "[log]\ndirectory = /l\nfile = {name}-{uuid32}\ntimestamps = line\nmax_size = 1MiB\nkeep = 0\ncompress = "
    "yes\n"
    "file_mode = 0600\nqueue = 1MiB\n";

Test(config_print, reads_back_to_an_equal_config)
{
    struct config *config = loads(other);
    char *first = printed(config);
    config_unref(config);
    config = loads(first);
    char *second = printed(config);
    cr_expect_str_eq(first, second);
    cr_expect(config->server.workers == 3 && config->user.linger == 1500 && config->user.backlog == 1025);
    cr_expect(config->vm.listen.len == 2 && config->vm.allow.len == 2 && config->redis.database == 4);
    cr_expect_str_eq(config->server.node_id, "n;1");
    config_unref(config);
    free(first);
    free(second);
}

Test(config_print, puts_the_comment_in_front_of_a_line_that_would_be_too_long)
{
    char *override = xasprintf("redis.active_key_prefix=%0170d", 0);
    struct config *config = loads_override(override);
    char *first = printed(config);
    config_unref(config);
    config = loads(first);
    cr_expect_eq(strlen(config->redis.active_key_prefix), 170);
    config_unref(config);
    free(first);
    free(override);
}

Test(config_print, list_too_long_for_a_line_is_refused_when_read_back_and_not_lost)
{
    char *override = xstrdup("vm.allow=10.0.0.0/24");
    for (int i = 1; i < 20; i++) {
        char *longer = xasprintf("%s, 10.0.%d.0/24", override, i);
        free(override);
        override = longer;
    }
    struct config *config = loads_override(override);
    char *text = printed(config);
    refuses(text, "longer than 190 bytes", NULL);
    config_unref(config);
    free(text);
    free(override);
}

Test(config_print, leaves_passwords_out)
{
    struct config *config = loads_override("redis.password=hunter2");
    char *text = printed(config);
    cr_expect_null(strstr(text, "hunter2"));
    cr_expect_not_null(strstr(text, "\n; password is set"));
    config_unref(config);
    free(text);
}

/* The section [redis] of a printed configuration, in fresh memory. */
static char *redis_section(const char *text)
{
    const char *from = strstr(text, "[redis]"), *end = strstr(text, "[control]");
    cr_assert(from && end && from < end, "%s", text);
    return xmemdup0(from, (size_t)(end - from));
}

static void note(const char *key, void *arg)
{
    char **notes = arg;
    char *longer = xasprintf("%s%s ", *notes, key);
    free(*notes);
    *notes = longer;
}

Test(config_reload, applies_what_it_may_and_names_what_needs_a_restart)
{
    char *error;
    struct config *running = config_load(NULL, NULL, 0, &error);
    struct config *wanted = loads(other);
    char *notes = xstrdup("");
    struct config *config = config_reload(running, wanted, note, &notes);
    cr_expect_str_eq(notes,
                     "server.workers server.node_id server.advertise server.state_dir vm.listen "
                     "user.listen user.first_port user.max_ports control.socket log.directory log.file ");
    char *before = printed(running), *after = printed(wanted), *now = printed(config);
    config_unref(loads(now));
    config_unref(running);
    config_unref(wanted);

    cr_expect(config->server.workers == 0 && config->user.first_port == 20000);
    cr_expect_eq(config->vm.listen.len, 1);
    cr_expect_str_eq(config->server.state_dir, "/var/lib/vspc");
    cr_expect_eq(config->server.log_level, LOG_LEVEL_DEBUG);
    cr_expect_str_eq(config->vm.service_uri, "u");
    cr_expect(config->vm.allow.len == 2 && config->user.allow.len == 2);
    cr_expect(config->vm.handshake_timeout == 1 && config->vm.vmotion_timeout == 90000);
    cr_expect(config->vm.keepalive == 0 && config->user.keepalive == 120000);
    cr_expect(config->user.port_retention == 129600000 && config->user.linger == 1500);
    cr_expect(config->user.scrollback == 1000 && config->user.backlog == 1025);
    cr_expect(config->user.telnet == TELNET_MODE_NEVER && config->user.idle_timeout == 604800000);
    cr_expect(config->user.mode == USER_ACCESS_RO);
    cr_expect_str_eq(config->control.socket, "/run/vspc/control.sock");
    cr_expect_str_eq(config->log.file, "{uuid}.log");
    cr_expect(config->log.timestamps == LOG_TIMESTAMPS_LINE && config->log.max_size == 1048576);
    cr_expect(config->log.keep == 0 && config->log.compress && config->log.file_mode == 0600);
    cr_expect_eq(config->log.queue, 1048576);
    char *redis[] = {redis_section(before), redis_section(after), redis_section(now)};
    cr_expect_str_eq(redis[2], redis[1]);
    cr_expect_str_neq(redis[2], redis[0]);
    for (size_t i = 0; i < 3; i++)
        free(redis[i]);

    config_unref(config);
    free(before);
    free(after);
    free(now);
    free(notes);
}

Test(config_reload, of_the_same_names_nothing)
{
    struct config *running = loads(other);
    struct config *wanted = loads(other);
    char *notes = xstrdup("");
    struct config *config = config_reload(running, wanted, note, &notes);
    cr_expect_str_empty(notes);
    config_unref(running);
    config_unref(wanted);
    config_unref(config);
    free(notes);
}

Test(config_reload, takes_a_new_password)
{
    struct config *running = loads_override("redis.password=a");
    struct config *wanted = loads_override("redis.password=b");
    struct config *config = config_reload(running, wanted, note, NULL);
    cr_expect_str_eq(config->redis.password, "b");
    config_unref(running);
    config_unref(wanted);
    config_unref(config);
}

static void *hold_and_let_go(void *arg)
{
    struct config *config = arg;
    for (int i = 0; i < 10000; i++)
        config_unref(config_ref(config));
    config_unref(config);
    return NULL;
}

Test(config_ref, last_of_many_threads_frees)
{
    pthread_t threads[4];
    struct config *config = loads(other);
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, hold_and_let_go, config_ref(config)), 0);
    config_unref(config);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    config_unref(NULL);
}

/* Each key's values: which are taken, which are refused, and what the refusal says. */
#include "config_fixture.h"
#include "vspc/sock.h"

TestSuite(config_duration, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_size, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_number, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_word, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_text, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_listen, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_allow, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_pairs, .init = fixture_setup, .fini = fixture_teardown);

static void expect_linger(const char *override, uint64_t ms)
{
    struct config *config = loads_override(override);
    cr_expect_eq(config->user.linger, ms, "%s", override);
    config_unref(config);
}

Test(config_duration, takes_each_unit)
{
    expect_linger("user.linger=1500ms", 1500);
    expect_linger("user.linger=10s", 10000);
    expect_linger("user.linger=5min", 300000);
    expect_linger("user.linger=2h", 7200000);
    expect_linger("user.linger=30d", 2592000000);
    expect_linger("user.linger=007s", 7000);
}

Test(config_duration, zero_needs_no_unit_and_may_have_one)
{
    expect_linger("user.linger=0", 0);
    expect_linger("user.linger=0s", 0);
    expect_linger("user.linger=0d", 0);
}

Test(config_duration, number_without_unit_is_shown_one)
{
    refuses_override("user.linger=10", "-o user.linger=10: ", "unit", "ms, s, min, h or d", "10s", NULL);
}

Test(config_duration, malformed_ones_are_refused_with_an_example)
{
    static const char *const values[] = {"1.5s", "-1s", "+1s",  "s",    "10 s",   "10S", "10sec", "10m",
                                         "10ss", "",    "0x1s", "1e3s", "10s10s", "ten", "0 s",   "10,5s"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *override = xasprintf("user.linger=%s", values[i]);
        refuses_override(override, "user.linger=", "for example 10s", NULL);
        free(override);
    }
}

Test(config_duration, longest_is_ten_years)
{
    expect_linger("user.linger=3650d", 315360000000);
    refuses_override("user.linger=3651d", "from 0 to 3650d", NULL);
    refuses_override("user.linger=315360000001ms", "from 0 to 3650d", NULL);
}

Test(config_duration, overflow_is_out_of_range_and_does_not_wrap)
{
    refuses_override("user.linger=18446744073709551615ms", "from 0 to 3650d", NULL);
    refuses_override("user.linger=18446744073709551617ms", "from 0 to 3650d", NULL);
    refuses_override("user.linger=213503982335d", "from 0 to 3650d", NULL);
    refuses_override("user.linger=99999999999999999999999999999s", "from 0 to 3650d", NULL);
    refuses_override("user.linger=99999999999999999999999999999", "unit", NULL);
}

Test(config_duration, zero_turns_off_what_may_be_off)
{
    struct config *config = loads("[vm]\nkeepalive = 0\n[user]\nport_retention = 0\nlinger = 0\n"
                                  "keepalive = 0\nidle_timeout = 0\n");
    cr_expect_eq(config->vm.keepalive, 0);
    cr_expect_eq(config->user.port_retention, 0);
    cr_expect_eq(config->user.linger, 0);
    cr_expect_eq(config->user.keepalive, 0);
    cr_expect_eq(config->user.idle_timeout, 0);
    config_unref(config);
}

Test(config_duration, timeouts_of_a_vm_may_not_be_zero)
{
    refuses("[vm]\nhandshake_timeout = 0\n", "vspc.ini:2: vm.handshake_timeout = \"0\"", "may not be 0",
            "from 1ms to 3650d", NULL);
    refuses("[vm]\nvmotion_timeout = 0s\n", "vspc.ini:2: vm.vmotion_timeout = \"0s\"", "may not be 0", NULL);
}

Test(config_size, takes_each_unit)
{
    struct config *config = loads("[user]\nscrollback = 100B\nbacklog = 2KiB\n");
    cr_expect_eq(config->user.scrollback, 100);
    cr_expect_eq(config->user.backlog, 2048);
    config_unref(config);
    config = loads("[user]\nscrollback = 0\nbacklog = 3MiB\n");
    cr_expect_eq(config->user.scrollback, 0);
    cr_expect_eq(config->user.backlog, 3 * 1024 * 1024);
    config_unref(config);
}

Test(config_size, number_without_unit_is_shown_one)
{
    refuses_override("user.backlog=65536", "user.backlog=65536", "B, KiB or MiB", "16KiB", NULL);
}

Test(config_size, malformed_ones_are_refused_with_an_example)
{
    static const char *const values[] = {"1KB", "1k", "1kib", "1.5MiB", "-1B", "1 KiB", "KiB", "", "1GiB"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *override = xasprintf("user.backlog=%s", values[i]);
        refuses_override(override, "user.backlog=", "for example 16KiB", NULL);
        free(override);
    }
}

Test(config_size, backlog_is_from_one_kib_to_one_gib)
{
    refuses_override("user.backlog=0", "may not be 0", "from 1KiB to 1024MiB", NULL);
    refuses("[user]\nbacklog = 1023B\nscrollback = 0\n", "user.backlog", "from 1KiB to 1024MiB", NULL);
    refuses_override("user.backlog=1025MiB", "from 1KiB to 1024MiB", NULL);
    refuses_override("user.backlog=17592186044417MiB", "from 1KiB to 1024MiB", NULL);
    struct config *config = loads("[user]\nscrollback = 1024MiB\nbacklog = 1024MiB\n");
    cr_expect_eq(config->user.backlog, 1024u * 1024 * 1024);
    config_unref(config);
    config = loads("[user]\nscrollback = 1KiB\nbacklog = 1024B\n");
    cr_expect_eq(config->user.backlog, 1024);
    config_unref(config);
}

Test(config_number, must_be_whole_and_in_its_range)
{
    refuses_override("server.workers=257", "from 0 to 256", NULL);
    refuses_override("server.workers=-1", "a whole number from 0 to 256", NULL);
    refuses_override("server.workers=1.5", "a whole number from 0 to 256", NULL);
    refuses_override("server.workers=four", "a whole number from 0 to 256", NULL);
    refuses_override("server.workers=", "a whole number from 0 to 256", NULL);
    refuses_override("server.workers=4294967296", "from 0 to 256", NULL);
    refuses_override("server.workers=18446744073709551616", "from 0 to 256", NULL);
    refuses_override("user.first_port=0", "may not be 0", "from 1 to 65535", NULL);
    refuses_override("user.first_port=65536", "from 1 to 65535", NULL);
    refuses_override("user.max_ports=0", "from 1 to 65535", NULL);
    refuses_override("user.max_ports=65536", "from 1 to 65535", NULL);
    refuses_override("redis.port=0", "from 1 to 65535", NULL);
    refuses_override("redis.port=65536", "from 1 to 65535", NULL);
    refuses_override("redis.database=2147483648", "from 0 to 2147483647", NULL);
}

Test(config_number, ends_of_the_range_are_in_it)
{
    struct config *config = loads("[server]\nworkers = 256\n[user]\nfirst_port = 1\nmax_ports = 65535\n"
                                  "[redis]\nport = 65535\ndatabase = 15\n");
    cr_expect_eq(config->server.workers, 256);
    cr_expect_eq(config->user.first_port, 1);
    cr_expect_eq(config->user.max_ports, 65535);
    cr_expect_eq(config->redis.port, 65535);
    cr_expect_eq(config->redis.database, 15);
    config_unref(config);
}

Test(config_word, yes_and_no_are_the_only_booleans)
{
    struct config *config = loads_override("redis.enabled=no");
    cr_expect_not(config->redis.enabled);
    config_unref(config);
    config = loads_override("redis.enabled=yes");
    cr_expect(config->redis.enabled);
    config_unref(config);
    static const char *const values[] = {"true", "false", "on", "off", "1", "0", "Yes", "", "yess", "n"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *override = xasprintf("redis.enabled=%s", values[i]);
        refuses_override(override, "redis.enabled", "must be yes or no", NULL);
        free(override);
    }
}

Test(config_word, telnet_is_auto_always_or_never)
{
    static const char *const words[] = {"user.telnet=auto", "user.telnet=always", "user.telnet=never"};
    static const enum telnet_mode modes[] = {TELNET_MODE_AUTO, TELNET_MODE_ALWAYS, TELNET_MODE_NEVER};
    for (size_t i = 0; i < 3; i++) {
        struct config *config = loads_override(words[i]);
        cr_expect_eq(config->user.telnet, modes[i]);
        config_unref(config);
    }
    refuses_override("user.telnet=on", "user.telnet", "must be auto, always or never", NULL);
}

Test(config_word, log_level_is_one_of_four)
{
    static const char *const words[] = {"server.log_level=error", "server.log_level=warning",
                                        "server.log_level=info", "server.log_level=debug"};
    static const enum log_level levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO,
                                            LOG_LEVEL_DEBUG};
    for (size_t i = 0; i < 4; i++) {
        struct config *config = loads_override(words[i]);
        cr_expect_eq(config->server.log_level, levels[i]);
        config_unref(config);
    }
    refuses_override("server.log_level=warn", "must be error, warning, info or debug", NULL);
}

Test(config_text, names_of_hashes_and_host_may_not_be_empty)
{
    static const char *const keys[] = {"redis.host", "redis.vm_port_map", "redis.vm_endpoint_map",
                                       "redis.vm_uuid_map"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *override = xasprintf("%s=", keys[i]);
        refuses_override(override, keys[i], "may not be empty", NULL);
        free(override);
    }
}

Test(config_text, other_text_may_be_empty)
{
    struct config *config = loads("[server]\nstate_dir =\n[vm]\nservice_uri =\n[redis]\nunix_socket =\n"
                                  "username =\npassword =\npassword_file =\nactive_key_prefix =\n");
    cr_expect_str_empty(config->server.state_dir);
    cr_expect_str_empty(config->vm.service_uri);
    cr_expect_str_empty(config->redis.unix_socket);
    cr_expect_str_empty(config->redis.username);
    cr_expect_str_empty(config->redis.password);
    cr_expect_str_empty(config->redis.password_file);
    cr_expect_str_empty(config->redis.active_key_prefix);
    config_unref(config);
}

Test(config_text, unix_socket_fits_a_socket_address)
{
    char *longest = xasprintf("redis.unix_socket=/%0106d", 0);
    char *longer = xasprintf("redis.unix_socket=/%0107d", 0);
    struct config *config = loads_override(longest);
    cr_expect_eq(strlen(config->redis.unix_socket), 107);
    config_unref(config);
    refuses_override(longer, "redis.unix_socket", "at most 107 bytes", NULL);
    free(longest);
    free(longer);
}

Test(config_text, service_uri_has_no_query_and_says_why)
{
    struct config *config = loads("[vm]\nservice_uri = telnet://vSPC.py:1/a b=c\n");
    cr_expect_str_eq(config->vm.service_uri, "telnet://vSPC.py:1/a b=c");
    config_unref(config);
    refuses("[vm]\nservice_uri = vSPC?port=a\n", "vspc.ini:2: vm.service_uri = \"vSPC?port=a\"", "`?`",
            "may have a query", "not compared", NULL);
}

Test(config_text, file_of_a_console_log_tells_consoles_apart_and_stays_in_its_directory)
{
    refuses("[log]\nfile = console.log\n", "log.file", "must hold {uuid}, {uuid32} or {name}", NULL);
    refuses("[log]\nfile = ../{uuid}\n", "log.file", "without `/`", NULL);
    refuses("[log]\nfile = {uuid\n", "no other { or }", NULL);
    refuses("[log]\nfile = {uuid}{}\n", "no other { or }", NULL);
    refuses("[log]\nfile = {UUID}\n", "no other { or }", NULL);
    struct config *config = loads("[log]\nfile = a{name}b{uuid32}{uuid}\n");
    cr_expect_str_eq(config->log.file, "a{name}b{uuid32}{uuid}");
    config_unref(config);
}

Test(config_text, file_mode_is_octal)
{
    static const char *const bad[] = {"640o", "0x1ff", "0888", "-1", "0377", "01000", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text = xasprintf("[log]\nfile_mode = %s\n", bad[i]);
        refuses(text, "log.file_mode", "in octal, from 0400 to 0777", NULL);
        free(text);
    }
    struct config *config = loads("[log]\nfile_mode = 600\n");
    cr_expect_eq(config->log.file_mode, 0600);
    config_unref(config);
}

Test(config_text, what_a_line_could_not_carry_is_refused_from_an_override_too)
{
    refuses_override("vm.service_uri=a ;b", "`;`", "comment", NULL);
    refuses_override("vm.service_uri=;b", "`;`", "comment", NULL);
    refuses_override("vm.service_uri=a\nb", "\\x0a", "control characters", NULL);
    refuses_override("vm.service_uri=a\x7f", "\\x7f", "control characters", NULL);
    char *longer = xasprintf("server.node_id=%0171d", 0);
    refuses_override(longer, "server.node_id", "at most 170 bytes, this has 171", NULL);
    free(longer);
}

Test(config_text, bytes_beyond_ascii_are_kept)
{
    struct config *config = loads("[server]\nnode_id = n\xc3\xb6rd;lich # 1\n");
    cr_expect_str_eq(config->server.node_id, "n\xc3\xb6rd;lich # 1");
    config_unref(config);
}

static void expect_listener(const struct config *config, size_t i, const char *text)
{
    char shown[SOCK_TEXT];
    cr_assert_lt(i, config->vm.listen.len);
    sock_addr_format(&config->vm.listen.items[i], shown);
    cr_expect_str_eq(shown, text);
}

Test(config_listen, takes_several_addresses_of_both_kinds)
{
    struct config *config = loads("[vm]\nlisten = 10.0.0.7:13370 ,[fd00::7]:80,\t[::ffff:10.0.0.8]:1\n");
    cr_assert_eq(config->vm.listen.len, 3);
    expect_listener(config, 0, "10.0.0.7:13370");
    expect_listener(config, 1, "[fd00::7]:80");
    expect_listener(config, 2, "10.0.0.8:1");
    cr_expect_eq(config->vm.listen.items[2].sa.sa_family, AF_INET);
    config_unref(config);
}

Test(config_listen, names_empty_entries_and_missing_ports_are_refused)
{
    refuses("[vm]\nlisten =\n", "vspc.ini:2: vm.listen", "may not be empty", "0.0.0.0:13370", NULL);
    refuses("[vm]\nlisten = localhost:13370\n", "\"localhost:13370\" is not", "not host names", NULL);
    refuses("[vm]\nlisten = 10.0.0.7\n", "is not an address with a port", NULL);
    refuses("[vm]\nlisten = ::1:80\n", "[::]:13370", NULL);
    refuses("[vm]\nlisten = 10.0.0.7:0\n", "is not an address with a port", NULL);
    refuses("[vm]\nlisten = 10.0.0.7:1,\n", "empty entry", "comma", NULL);
    refuses("[vm]\nlisten = ,10.0.0.7:1\n", "empty entry", NULL);
    refuses("[vm]\nlisten = 10.0.0.7:1,,10.0.0.8:1\n", "empty entry", NULL);
    refuses("[vm]\nlisten = 10.0.0.7:1 10.0.0.8:1\n", "is not an address with a port", NULL);
}

Test(config_listen, duplicates_are_refused_however_they_are_written)
{
    refuses("[vm]\nlisten = 10.0.0.7:1, 10.0.0.8:1, 10.0.0.7:1\n", "names 10.0.0.7:1 twice", NULL);
    refuses("[vm]\nlisten = [::1]:1, [0:0::1]:01\n", "names [::1]:1 twice", NULL);
    refuses("[vm]\nlisten = 10.0.0.7:1, [::ffff:10.0.0.7]:1\n", "names 10.0.0.7:1 twice", NULL);
}

/* section.key= and n entries, joined by commas; the caller frees. */
static char *list(const char *key, const char *format, int n)
{
    char *text = xasprintf("%s=", key);
    for (int i = 1; i <= n; i++) {
        char *entry = xasprintf(format, i);
        char *longer = xasprintf("%s%s%s", text, i > 1 ? "," : "", entry);
        free(entry);
        free(text);
        text = longer;
    }
    return text;
}

Test(config_listen, sixteen_addresses_are_the_most)
{
    char *most = list("vm.listen", "10.0.0.7:%d", 16);
    char *more = list("vm.listen", "10.0.0.7:%d", 17);
    struct config *config = loads_override(most);
    cr_expect_eq(config->vm.listen.len, 16);
    config_unref(config);
    refuses_override(more, "vm.listen", "at most 16 addresses", NULL);
    free(most);
    free(more);
}

Test(config_listen, user_listen_is_one_numeric_address_without_port)
{
    struct config *config = loads_override("user.listen=::");
    cr_expect(sock_addr_is_any6(&config->user.listen));
    cr_expect_eq(sock_addr_port(&config->user.listen), 0);
    config_unref(config);
    static const char *const values[] = {"",          "127.0.0.1:20000", "[::1]",
                                         "localhost", "127.0.0.1,::1",   "::1/64"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *override = xasprintf("user.listen=%s", values[i]);
        refuses_override(override, "user.listen", "one numeric address without port", "first_port", NULL);
        free(override);
    }
}

Test(config_allow, takes_networks_of_both_kinds)
{
    struct config *config = loads("[vm]\nallow = 10.0.0.0/8, fd00::/8\n[user]\nallow = 10.0.0.7\n");
    struct sock_addr in, out;
    cr_assert_eq(sock_addr_parse("10.9.9.9", 0, &in), 0);
    cr_assert_eq(sock_addr_parse("11.0.0.1", 0, &out), 0);
    cr_assert_eq(config->vm.allow.len, 2);
    cr_expect(network_list_holds(&config->vm.allow, &in));
    cr_expect_not(network_list_holds(&config->vm.allow, &out));
    cr_expect_not(network_list_holds(&config->user.allow, &in));
    config_unref(config);
}

Test(config_allow, empty_is_all)
{
    struct config *config = loads("[vm]\nallow =\n[user]\nallow = ; nobody is kept out\n");
    cr_expect_eq(config->vm.allow.len, 0);
    cr_expect_eq(config->user.allow.len, 0);
    config_unref(config);
}

Test(config_allow, host_bits_are_an_error_that_shows_the_right_network)
{
    refuses("[vm]\nallow = 10.0.0.1/8\n", "vspc.ini:2: vm.allow", "\"10.0.0.1/8\"", "write 10.0.0.0/8", NULL);
    refuses("[user]\nallow = 172.31.0.0/12\n", "user.allow", "write 172.16.0.0/12", NULL);
    refuses("[user]\nallow = ::1, fd00:1::1/33\n", "write fd00:1::/33", NULL);
    refuses("[user]\nallow = 1.2.3.4/0\n", "write 0.0.0.0/0", NULL);
}

Test(config_allow, anything_else_is_refused)
{
    refuses("[vm]\nallow = 10.0.0.0/33\n", "\"10.0.0.0/33\" is not a network", "10.0.0.0/8", "fd00::/8",
            NULL);
    refuses("[vm]\nallow = esx01\n", "\"esx01\" is not a network", NULL);
    refuses("[vm]\nallow = 10.0.0.0/8 fd00::/8\n", "is not a network", NULL);
    refuses("[vm]\nallow = 10.0.0.0/8,\n", "empty entry", NULL);
    refuses("[vm]\nallow = ,\n", "empty entry", NULL);
}

Test(config_allow, sixty_four_networks_are_the_most)
{
    char *most = list("user.allow", "10.0.%d.0/24", 64);
    char *more = list("user.allow", "10.0.%d.0/24", 65);
    struct config *config = loads_override(most);
    cr_expect_eq(config->user.allow.len, 64);
    config_unref(config);
    refuses_override(more, "user.allow", "at most 64 networks", NULL);
    free(most);
    free(more);
}

Test(config_pairs, scrollback_above_backlog_names_both_and_their_places)
{
    refuses("[user]\nscrollback = 2KiB\nbacklog = 1KiB\n", "user.scrollback = 2KiB (", "vspc.ini:2)",
            "user.backlog = 1KiB (", "vspc.ini:3)", NULL);
    refuses("[user]\nscrollback = 1MiB\n", "user.scrollback = 1MiB", "user.backlog = 256KiB (the default)",
            NULL);
    refuses_override("user.backlog=1KiB", "user.scrollback = 16KiB (the default)", "user.backlog = 1KiB (-o)",
                     NULL);
    struct config *config = loads("[user]\nscrollback = 1KiB\nbacklog = 1KiB\n");
    config_unref(config);
}

Test(config_pairs, ports_beyond_the_last_name_both)
{
    refuses("[user]\nfirst_port = 60000\n", "user.first_port = 60000", "user.max_ports = 10000", "65536",
            NULL);
    refuses_override("user.max_ports=45537", "user.first_port = 20000", "user.max_ports = 45537", NULL);
    struct config *config = loads_override("user.max_ports=45536");
    config_unref(config);
    config = loads("[user]\nfirst_port = 65535\nmax_ports = 1\n");
    config_unref(config);
}

Test(config_pairs, key_wrong_by_itself_is_not_compared)
{
    char *error;
    fixture_write_text("vspc.ini", "[user]\nscrollback = 1MiB\nbacklog = much\n");
    cr_assert_null(fixture_load(NULL, &error));
    cr_expect_eq(count_lines(error), 1, "%s", error);
    free(error);
    fixture_write_text("vspc.ini", "[user]\nscrollback = much\nbacklog = 1KiB\n");
    cr_assert_null(fixture_load(NULL, &error));
    cr_expect_eq(count_lines(error), 1, "%s", error);
    free(error);
}

/* Lines, keys, files, overrides and errors of the configuration. */
#include "config_fixture.h"

TestSuite(config_line, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_key, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_file, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_conf_d, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_override, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_error, .init = fixture_setup, .fini = fixture_teardown);

static void expect_workers(struct config *config, unsigned workers)
{
    cr_expect_eq(config->server.workers, workers);
    config_unref(config);
}

/* [server], workers = 3 and a comment that makes the second line len bytes long; the caller frees. */
static char *line_of(size_t len, const char *end)
{
    return xasprintf("[server]%sworkers = 3 ;%0*d%s", end, (int)(len - strlen("workers = 3 ;")), 0, end);
}

Test(config_line, of_190_bytes_is_taken_and_of_191_refused)
{
    static const char *const ends[] = {"\n", "\r\n"};
    for (size_t i = 0; i < 2; i++) {
        char *longest = line_of(190, ends[i]);
        char *longer = line_of(191, ends[i]);
        expect_workers(loads(longest), 3);
        refuses(longer, "vspc.ini:2: ", "longer than 190 bytes", NULL);
        free(longest);
        free(longer);
    }
}

Test(config_line, too_long_is_refused_also_in_a_comment_and_far_beyond_any_buffer)
{
    char *comment = xasprintf("[server]\n;%0200d\nworkers = 3\n", 0);
    char *huge = xasprintf("[server]\nworkers = %0100000d\nworkers = x\n", 3);
    refuses(comment, "vspc.ini:2: longer than 190 bytes", NULL);
    refuses(huge, "vspc.ini:2: longer than 190 bytes", "vspc.ini:3: server.workers", NULL);
    free(comment);
    free(huge);
}

Test(config_line, key_that_is_indented_is_refused)
{
    refuses("[server]\nnode_id = a\n  workers = 3\n", "vspc.ini:3: starts with a space", NULL);
    refuses("[server]\nnode_id = a\n\tb\n", "vspc.ini:3: starts with a space", NULL);
    refuses(" [server]\n", "vspc.ini:1: starts with a space", NULL);
}

Test(config_line, comments_and_blank_lines_say_nothing)
{
    expect_workers(loads("\n; [vm]\n# foo\n   \n\t; indented, but a comment\n[server] ; here too\n"
                         "workers = 3 ; three\n\n#workers = 4\n"),
                   3);
    expect_workers(loads("[server];\nworkers=3\t;three"), 3);
}

Test(config_line, semicolon_begins_a_comment_only_behind_a_space)
{
    struct config *config = loads("[server]\nnode_id = a;b ;c\n");
    cr_expect_str_eq(config->server.node_id, "a;b");
    config_unref(config);
    refuses("[server]\nworkers = 3;three\n", "server.workers = \"3;three\"", NULL);
    refuses("[server]\nnode_id =;d\n", "server.node_id = \";d\"", "comment", NULL);
}

Test(config_line, with_a_nul_byte_is_refused)
{
    static const char text[] = "[server]\nworkers = 3\0 4\n";
    fixture_write("vspc.ini", text, sizeof text - 1);
    fixture_refuses(NULL, "vspc.ini:2: holds a NUL byte", NULL);
}

Test(config_line, that_is_nothing_known_is_refused)
{
    static const char *const lines[] = {
        "workers", "workers: 3", "workers 3 ; = 4", "vm_port_map VM:Port = 1", "]", "\"workers\"", "w;x = 3"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *text = xasprintf("[server]\n%s\n", lines[i]);
        refuses(text, "vspc.ini:2: neither [section] nor key = value", NULL);
        free(text);
    }
    refuses("[server]\n= 3\n", "vspc.ini:2: the key in front of = is missing", NULL);
}

Test(config_line, windows_line_ends_and_a_byte_order_mark_are_fine)
{
    expect_workers(loads("\xef\xbb\xbf[server]\r\n\r\nworkers = 3\r\n"), 3);
    expect_workers(loads("\xef\xbb\xbf; comment\n[server]\nworkers = 3"), 3);
    expect_workers(loads("[server]\r\nworkers = 3 ; three\r"), 3);
    refuses("[server]\n\xef\xbb\xbfworkers = 3\n", "vspc.ini:2: ", "unknown key", NULL);
}

Test(config_key, before_any_section_is_refused)
{
    refuses("workers = 3\n[server]\n", "vspc.ini:1: ", "below its [section]", NULL);
}

Test(config_key, twice_in_one_file_is_refused_with_both_lines)
{
    refuses("[server]\nworkers = 3\n[vm]\n[server]\nworkers = 3\n",
            "vspc.ini:5: server.workers: ", "first on line 2", NULL);
    refuses("[server]\nworkers = x\nworkers = 3\n", "vspc.ini:2: ", "vspc.ini:3: ", "first on line 2", NULL);
}

Test(config_key, of_one_name_in_two_sections_is_two_keys)
{
    struct config *config = loads("[user]\nkeepalive = 1s\n[vm]\nkeepalive = 2s\n[user]\nlinger = 3s\n");
    cr_expect_eq(config->user.keepalive, 1000);
    cr_expect_eq(config->vm.keepalive, 2000);
    cr_expect_eq(config->user.linger, 3000);
    config_unref(config);
}

Test(config_key, unknown_is_refused_with_the_nearest_known)
{
    refuses("[user]\nscrolback = 1KiB\n", "vspc.ini:2: user.scrolback: unknown key", "is scrollback", NULL);
    refuses("[redis]\nvm_uid_map = a\n", "is vm_uuid_map", NULL);
    refuses("[server]\nworker = 3\n", "is workers", NULL);
    refuses("[server]\nWorkers = 3\n", "is workers", NULL);
}

Test(config_key, in_the_wrong_section_is_shown_the_right_one)
{
    refuses("[vm]\nlinger = 1s\n", "vm.linger", "belongs to section user", NULL);
}

Test(config_key, of_an_unknown_section_adds_no_error_of_its_own)
{
    fixture_write_text("vspc.ini", "[usr]\nlinger = 1s\nfoo = 1\n[server]\nworkers = 3\n");
    char *error;
    cr_assert_null(fixture_load(NULL, &error));
    cr_expect_eq(count_lines(error), 1, "%s", error);
    cr_expect_not_null(
        strstr(error, "vspc.ini:1: unknown section \"usr\": the sections are server, vm, user, redis"));
    free(error);
}

Test(config_key, section_lines_are_checked_whole)
{
    refuses("[foo]\n", "unknown section \"foo\"", NULL);
    refuses("[]\n", "unknown section \"\"", NULL);
    refuses("[ server ]\n", "unknown section \" server \"", NULL);
    refuses("[server\nworkers = 3\n", "vspc.ini:1: ", "closing bracket", NULL);
    refuses("[server] workers = 3\n", "vspc.ini:1: nothing but a comment", NULL);
    refuses("[server] workers = 3\nnode_ix = 3\n", "vspc.ini:2: ", "is node_id", NULL);
}

Test(config_file, that_is_missing_says_why)
{
    fixture_refuses(NULL, "/vspc.ini: cannot be read: No such file or directory", NULL);
}

Test(config_file, that_is_a_directory_says_why)
{
    fixture_mkdir("vspc.ini");
    fixture_refuses(NULL, "/vspc.ini: cannot be read: Is a directory", NULL);
}

Test(config_file, without_end_is_refused)
{
    char *error;
    cr_assert_null(config_load("/dev/zero", NULL, 0, &error));
    cr_expect_not_null(strstr(error, "/dev/zero: larger than 1 MiB"), "%s", error);
    free(error);
}

Test(config_file, of_many_lines_counts_them)
{
    char *text = xmalloc(5000 * 2 + 64);
    size_t len = 0;
    while (len < 5000 * 2)
        len += (size_t)sprintf(text + len, ";\n");
    snprintf(text + len, 64, "[server]\nworkers = x\n");
    refuses(text, "vspc.ini:5002: server.workers", NULL);
    free(text);
}

Test(config_file, beside_the_working_directory_needs_no_slash)
{
    cr_assert_eq(chdir(fixture_dir), 0);
    fixture_mkdir("conf.d");
    fixture_write_text("vspc.ini", "[server]\nworkers = 3\n");
    fixture_write_text("conf.d/a.ini", "[server]\nnode_id = a\n");
    char *error;
    struct config *config = config_load("vspc.ini", NULL, 0, &error);
    cr_assert_not_null(config, "%s", error);
    cr_expect_str_eq(config->server.node_id, "a");
    expect_workers(config, 3);
}

Test(config_conf_d, is_read_after_the_file_in_the_order_of_bytes)
{
    fixture_mkdir("conf.d");
    fixture_write_text("vspc.ini", "[server]\nworkers = 1\nnode_id = file\n[user]\nlinger = 1s\n");
    fixture_write_text("conf.d/a.ini", "[server]\nworkers = 2\nnode_id = a\n");
    fixture_write_text("conf.d/B.ini", "[server]\nworkers = 3\nnode_id = B\n");
    fixture_write_text("conf.d/10.ini", "[server]\nworkers = 4\n");
    fixture_write_text("conf.d/9.ini", "[server]\nworkers = 5\nadvertise = nine\n");
    struct config *config = fixture_loads(NULL);
    cr_expect_eq(config->server.workers, 2);
    cr_expect_str_eq(config->server.node_id, "a");
    cr_expect_str_eq(config->server.advertise, "nine");
    cr_expect_eq(config->user.linger, 1000);
    config_unref(config);
}

Test(config_conf_d, takes_only_visible_ini_files)
{
    static const char *const names[] = {"conf.d/.hidden.ini", "conf.d/.ini",   "conf.d/a.ini~",
                                        "conf.d/a.conf",      "conf.d/README", "conf.d/ini"};
    fixture_mkdir("conf.d");
    fixture_write_text("vspc.ini", "[server]\nworkers = 3\n");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fixture_write_text(names[i], "nonsense\n");
    expect_workers(fixture_loads(NULL), 3);
}

Test(config_conf_d, error_names_its_file)
{
    fixture_mkdir("conf.d");
    fixture_mkdir("conf.d/dir.ini");
    fixture_write_text("vspc.ini", "[server]\nworkers = 3\n");
    fixture_write_text("conf.d/a.ini", "\n[server]\nworkers = x\n");
    fixture_refuses(NULL, "/conf.d/a.ini:3: server.workers = \"x\"",
                    "/conf.d/dir.ini: cannot be read: Is a directory", NULL);
}

Test(config_conf_d, that_is_no_directory_says_so)
{
    fixture_write_text("vspc.ini", "");
    fixture_write_text("conf.d", "");
    fixture_refuses(NULL, "/conf.d: cannot be read: Not a directory", NULL);
}

Test(config_override, beats_every_file_and_the_last_one_wins)
{
    fixture_mkdir("conf.d");
    fixture_write_text("vspc.ini", "[server]\nworkers = 1\n");
    fixture_write_text("conf.d/a.ini", "[server]\nworkers = 2\n");
    expect_workers(fixture_loads("server.workers=3"), 3);
    static const char *const both[] = {"server.workers=3", " server.workers = 4 "};
    char *error;
    struct config *config = config_load(NULL, both, 2, &error);
    cr_assert_not_null(config, "%s", error);
    expect_workers(config, 4);
}

Test(config_override, value_may_hold_dots_and_equals_signs)
{
    struct config *config = loads_override("redis.password=a.b=c=.d");
    cr_expect_str_eq(config->redis.password, "a.b=c=.d");
    config_unref(config);
}

Test(config_override, without_equals_sign_or_dot_is_explained)
{
    refuses_override("user.linger", "-o user.linger: ", "no `=`", "-o section.key=value", NULL);
    refuses_override("linger=1.5s", "-o linger: ", "no `.`", "-o section.key=value", NULL);
    refuses_override("=", "no `.`", NULL);
    refuses_override("", "no `=`", NULL);
}

Test(config_override, unknown_names_are_refused_with_a_hint)
{
    refuses_override("user.lingr=1s", "-o user.lingr=", "unknown key", "is linger", NULL);
    refuses_override("usr.linger=1s", "-o usr.linger=", "unknown section", "server, vm, user, redis", NULL);
    refuses_override(".=", "unknown section", NULL);
}

Test(config_override, error_names_it_as_it_was_given)
{
    refuses_override("user.linger=10", "-o user.linger=10: ", NULL);
}

Test(config_error, all_of_a_run_are_told_one_a_line)
{
    fixture_mkdir("conf.d");
    fixture_write_text("vspc.ini", "[server]\nworkers = x\n[user]\nfirst_port = 60000\nbar = 1\n");
    fixture_write_text("conf.d/a.ini", "[redis]\nport = 0\n");
    char *error;
    cr_assert_null(fixture_load("vm.keepalive=1", &error));
    cr_expect_eq(count_lines(error), 5, "%s", error);
    cr_expect_neq(error[strlen(error) - 1], '\n');
    free(error);
}

Test(config_error, twenty_are_told_and_the_rest_counted)
{
    char text[1024] = "[server]\n";
    for (int i = 0; i < 23; i++)
        strcat(text, "nonsense\n");
    refuses(text, "vspc.ini:21: ", "\nand 3 more", NULL);
    text[strlen(text) - 3 * strlen("nonsense\n")] = 0;
    fixture_write_text("vspc.ini", text);
    char *error;
    cr_assert_null(fixture_load(NULL, &error));
    cr_expect_eq(count_lines(error), 20, "%s", error);
    free(error);
}

Test(config_error, shows_input_escaped_and_bounded)
{
    refuses("[server]\nworkers = \x1b[2J\xff\n", "\"\\x1b[2J\\xff\"", NULL);
    refuses("[\x1b]\n", "unknown section \"\\x1b\"", NULL);
    refuses("[server]\n\x1b = 1\n", "server.\\x1b: unknown key", NULL);
    char *huge = xmalloc(100001);
    memset(huge, '\x1b', 100000);
    memcpy(huge, "user.linger=", 12);
    huge[100000] = 0;
    char *error;
    const char *override = huge;
    cr_assert_null(config_load(NULL, &override, 1, &error));
    cr_expect_lt(strlen(error), 4096);
    free(error);
    huge[11] = '-';
    cr_assert_null(config_load(NULL, &override, 1, &error));
    cr_expect_lt(strlen(error), 4096);
    free(error);
    huge[50000] = '=';
    cr_assert_null(config_load(NULL, &override, 1, &error));
    cr_expect_lt(strlen(error), 4096);
    free(error);
    free(huge);
}

Test(config_error, never_shows_a_password)
{
    static const char *const texts[] = {"[redis]\npassword = hunter2\x01\n",
                                        "[redis]\npassword = hunter2 ;3\n", "[redis]\npasswrod = hunter2\n",
                                        "[redis]\npassword hunter2\n",
                                        "[redis]\npassword = a\npassword = hunter2\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *error;
        fixture_write_text("vspc.ini", texts[i]);
        cr_assert_null(fixture_load(NULL, &error), "%s", texts[i]);
        cr_expect_null(strstr(error, "hunter2"), "%s", error);
        cr_expect_not_null(strstr(error, ":2: ") || strstr(error, ":3: ") ? error : NULL);
        free(error);
    }
    const char *override = "redis.password=hunter2\x01";
    char *error;
    cr_assert_null(config_load(NULL, &override, 1, &error));
    cr_expect_null(strstr(error, "hunter2"), "%s", error);
    free(error);
}

Test(config_error, password_cut_by_a_comment_is_refused_and_an_empty_one_is_not)
{
    refuses("[redis]\npassword = a ;b\n", "redis.password", "begins a comment", "password_file", NULL);
    struct config *config = loads("[redis]\npassword = ; none\n");
    cr_expect_str_empty(config->redis.password);
    config_unref(config);
    config = loads("[redis]\npassword = a;b #c = d\n");
    cr_expect_str_eq(config->redis.password, "a;b #c = d");
    config_unref(config);
}

/* What the control socket asks of consoles: which there are, which is meant, and orders to one. */
#include "console_fixture.h"

TestSuite(console_query, .init = fixture_begin, .fini = fixture_end);

/* How many consoles a text means, and how well it fits them. */
static unsigned count(const char *text, enum console_rank *rank)
{
    struct console_find *find = fixture_find(text);
    unsigned n = find->count;
    *rank = find->rank;
    console_find_free(find);
    return n;
}

static void means(const char *text, unsigned expected, enum console_rank expected_rank)
{
    enum console_rank rank;
    unsigned n = count(text, &rank);
    cr_expect_eq(n, expected, "%u consoles are called %s", n, text);
    cr_expect_eq(rank, expected_rank, "%s", text);
}

Test(console_query, list_shows_every_console_with_what_it_is)
{
    struct vm_link *one = fixture_vm("vm1", NULL), *two = fixture_vm("vm2", "port=com1");
    vm_print_text(one, "hello");
    struct user *user = user_connect(fx.first_port, USER_RAW);
    user_expect_offer(user, SOON);
    user_expect_text(user, "hello", SOON);
    user_type(user, "abc");
    vm_expect_text(one, "abc", SOON);
    struct console_list *list = fixture_list();
    cr_assert_eq(list->len, 2);
    const struct console_row *row = &list->rows[0];
    cr_assert_eq(row->name_len, 3);
    cr_assert_eq(memcmp(row->name, "vm1", 3), 0);
    cr_assert(row->has_uuid);
    cr_assert_eq(memcmp(row->uuid, vm_options("vm1").uuid, UUID_SIZE), 0);
    cr_assert_str_eq(row->label, "");
    cr_assert_str_eq(row->state, "connected");
    cr_assert_eq(row->port, fx.first_port);
    cr_assert_eq(row->users, 1);
    cr_assert_eq(row->bytes_from_vm, 5);
    cr_assert_eq(row->bytes_to_vm, 3);
    cr_assert_leq(time(NULL) - row->since, 100);
    cr_assert_str_eq(list->rows[1].label, "com1");
    console_list_free(list);

    vm_stop(two);
    struct console_order *show;
    WAIT_FOR((show = fixture_order(ORDER_SHOW, "vm2"), fixture_obey(show), console_order_free(show),
              list = fixture_list(),
              strcmp(list->rows[1].state, "connected") != 0 || (console_list_free(list), false)),
             SOON, "vm2 stays connected");
    cr_assert_str_eq(list->rows[1].state, "disconnected");
    console_list_free(list);
    user_close(user);
    vm_stop(one);
}

Test(console_query, a_name_a_uuid_or_its_beginning_finds_a_console)
{
    char uuid[UUID_TEXT], text[80];
    struct vm_link *vms[] = {fixture_vm("web", NULL), fixture_vm("web-1", "port=a"),
                             fixture_vm("web-1", "port=b"), fixture_vm("db", NULL)};
    means("web", 1, MATCH_WHOLE);
    means("we", 3, MATCH_NAME_BEGINNING);
    means("web-1", 2, MATCH_NAME_BEGINNING);
    means("web-1.", 2, MATCH_NAME_BEGINNING);
    means("web-1.a", 1, MATCH_WHOLE);
    means("web-1.c", 0, MATCH_NONE);
    means("web.", 0, MATCH_NONE);
    means("WEB", 0, MATCH_NONE);
    means("", 0, MATCH_NONE);
    means("web-1.aa", 0, MATCH_NONE);
    uuid_format(vm_options("db").uuid, uuid);
    means(uuid, 1, MATCH_WHOLE);
    snprintf(text, sizeof text, "{%s}", uuid);
    for (char *c = text; *c; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    means(text, 1, MATCH_WHOLE);
    text[20] = 0;
    means(text, 1, MATCH_UUID_BEGINNING);
    snprintf(text, sizeof text, "%s0", uuid);
    means(text, 0, MATCH_NONE);
    /* The beginning of a UUID may look like that of a name. */
    memcpy(text, uuid, 2);
    text[2] = 0;
    struct vm_link *hex = fixture_vm(uuid, NULL);
    means(text, 1, MATCH_NAME_BEGINNING);
    vm_stop(hex);
    uuid_format(vm_options("web-1").uuid, uuid);
    means(uuid, 2, MATCH_UUID_BEGINNING);
    snprintf(text, sizeof text, "%s.b", uuid);
    means(text, 1, MATCH_WHOLE);
    text[10] = '.';
    means(text, 0, MATCH_NONE);
    struct console_find *find = fixture_find("web");
    cr_assert_eq(directory_pins(fx.shared.directory), 1);
    console_find_free(find);
    WAIT_FOR(directory_pins(fx.shared.directory) == 0, SOON, "the pin is not given back");
    for (size_t i = 0; i < 4; i++)
        vm_stop(vms[i]);
}

Test(console_query, show_and_users_tell_all_there_is)
{
    struct vm_link *vm = fixture_vm("vm1", "port=com1");
    vm_print_text(vm, "hello");
    struct user *user = user_connect(fx.first_port, USER_TELNET);
    user_expect_text(user, "hello", SOON);
    user_type(user, "ab");
    vm_expect_text(vm, "ab", SOON);
    struct user *alice = fixture_attach("vm1.com1", "alice", ACCESS_EXCLUSIVE);
    struct console_order *order = fixture_order(ORDER_SHOW, "vm1.com1");
    cr_assert_eq(fixture_obey(order), 0);
    cr_assert_str_eq(order->holder, "alice (uid 1000)");
    cr_assert_str_eq(order->row.label, "com1");
    cr_assert_eq(order->scrollback, 5);
    cr_assert_eq(strncmp(order->identity, "uuid:", 5), 0);
    cr_assert_eq(strncmp(order->peer_text, "127.0.0.1:", 10), 0);
    console_order_free(order);

    order = fixture_order(ORDER_USERS, "vm1.com1");
    cr_assert_eq(fixture_obey(order), 0);
    cr_assert_eq(order->user_count, 2);
    cr_assert_str_eq(order->users[0].kind, "telnet");
    cr_assert_eq(order->users[0].access, ACCESS_RW);
    cr_assert_not(order->users[0].writes);
    cr_assert_geq(order->users[0].bytes_from_user, 2);
    cr_assert_geq(order->users[0].bytes_to_user, 5);
    cr_assert_str_eq(order->users[1].kind, "control");
    cr_assert_str_eq(order->users[1].who, "alice (uid 1000), process 4711");
    cr_assert_eq(order->users[1].access, ACCESS_EXCLUSIVE);
    cr_assert(order->users[1].writes);
    cr_assert_neq(order->users[0].id, order->users[1].id);
    console_order_free(order);
    user_close(user);
    user_close(alice);
    vm_stop(vm);
}

/* Types text by order. */
static int send_text(const char *text, bool is_break, bool force)
{
    struct console_order *order = fixture_order(ORDER_SEND, "vm1");
    bytes_put(&order->text, text, strlen(text));
    order->is_break = is_break;
    order->force = force;
    return fixture_result(order);
}

Test(console_query, send_types_unless_somebody_holds_or_nobody_listens)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    cr_assert_eq(send_text("ls\r", false, false), 0);
    vm_expect_text(vm, "ls\r", SOON);
    cr_assert_eq(send_text("\xff", true, false), 0);
    vm_expect_text(vm, "\xff", SOON);
    cr_assert_eq(vm->breaks, 1);
    struct user *alice = fixture_attach("vm1", "alice", ACCESS_EXCLUSIVE_WRITE);
    cr_assert_eq(send_text("no", false, false), -EBUSY);
    cr_assert_eq(send_text("yes", false, true), 0);
    vm_expect_text(vm, "yes", SOON);
    user_close(alice);
    WAIT_FOR(fixture_users("vm1") == 0, SOON, "alice stays");

    /* A VM that does not read. */
    char *much = xmalloc(60001);
    memset(much, 'x', 60000);
    much[60000] = 0;
    int result;
    WAIT_FOR((result = send_text(much, false, false)) != 0, SOON, "there is no bound");
    cr_assert_eq(result, -EAGAIN);
    free(much);
    vm_stop(vm);
    WAIT_FOR(send_text("x", false, false) == -ENOTCONN, SOON, "the VM is not missed");
}

Test(console_query, kick_tells_and_closes_one_user)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    struct user *telnet = user_connect(fx.first_port, USER_TELNET);
    user_answer_offer(telnet, SOON);
    /* What was sent and never read would turn the close into a reset, which takes the notice along. */
    user_type(telnet, "x");
    vm_expect_text(vm, "x", SOON);
    struct user *bob = fixture_attach("vm1", "bob", ACCESS_RW);
    struct console_order *users = fixture_order(ORDER_USERS, "vm1");
    cr_assert_eq(fixture_obey(users), 0);
    for (size_t i = 0; i < 3; i++) {
        struct console_order *order = fixture_order(ORDER_KICK, "vm1");
        order->user = i < 2 ? users->users[i].id : users->users[0].id;
        order->peer = (struct control_peer){.uid = 0, .as = "root"};
        cr_assert_eq(fixture_result(order), i < 2 ? 0 : -ESRCH);
    }
    console_order_free(users);
    user_wait_text(telnet, "\r\n[vspc: disconnected by root (uid 0)]\r\n", SOON);
    user_wait_closed(telnet, SOON);
    user_wait_text(bob, "{\"notice\": \"disconnected by root (uid 0)\"}\xff\xf0", SOON);
    user_wait_closed(bob, SOON);
    user_close(telnet);
    user_close(bob);
    vm_stop(vm);
}

Test(console_query, a_notice_reaches_telnet_and_control_users)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    struct user *telnet = user_connect(fx.first_port, USER_TELNET);
    struct user *raw = user_connect(fx.first_port, USER_RAW);
    user_expect_offer(raw, SOON);
    WAIT_FOR(fixture_users("vm1") == 2, SOON, "no users");
    user_type(telnet, "x"); /* It is known to speak telnet when this has come. */
    vm_expect_text(vm, "x", SOON);
    struct user *bob = fixture_attach("vm1", "bob", ACCESS_RO);
    struct console_order *order = fixture_order(ORDER_NOTICE, "vm1");
    bytes_put(&order->text, "lunch \"time\"", 13);
    cr_assert_eq(fixture_obey(order), 0);
    cr_assert_eq(order->reached, 2);
    console_order_free(order);
    user_expect_text(telnet, "\r\n[vspc: lunch \"time\"]\r\n", SOON);
    user_wait_text(bob, "{\"notice\": \"lunch \\\"time\\\"\"}\xff\xf0", SOON);
    user_close(telnet);
    user_close(raw);
    user_close(bob);
    vm_stop(vm);
}

/* Letter. */
static void close_owner(void *arg)
{
    (void)arg;
    console_owner_close(&fx.owner);
}

Test(console_query, disconnect_ends_the_vm_connection_and_orders_to_an_ended_console_say_so)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    struct console_order *late = fixture_order(ORDER_SHOW, "vm1");
    cr_assert_eq(fixture_result(fixture_order(ORDER_DISCONNECT, "vm1")), 0);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    cr_assert_eq(fixture_result(fixture_order(ORDER_DISCONNECT, "vm1")), -ENOTCONN);
    vm_stop(vm);
    loop_post(fx.loop, close_owner, NULL);
    cr_assert_eq(fixture_result(late), -ENOENT);
}

/* Types of the events there were. */
static unsigned long events_seen(void)
{
    unsigned long seen = 0;
    bool done = false;
    struct console_query query = fixture_query(&done);
    query.done = fixture_listed;
    console_list_ask(&fx.owner, &query);
    fixture_await(&done);
    console_list_free(listed);
    for (const struct event *event = fx.events; event; event = event->next)
        seen |= 1ul << event->type;
    return seen;
}

Test(console_query, what_happens_to_a_console_is_told_as_events)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    struct user *bob = fixture_attach("vm1", "bob", ACCESS_RO);
    fixture_ask(bob, "{\"access\": \"exclusive\"}");
    user_wait_text(bob, "{\"access\": \"exclusive\"", SOON);
    user_close(bob);
    vm_client_rename(&vm->vm, "vm2", 3);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    enum console_rank rank;
    WAIT_FOR(count("vm2", &rank) == 1, SOON, "the VM keeps its name");
    vm_client_begin(&vm->vm, "1", 1);
    cr_assert_eq(vm_link_wait(vm, VM_EVENT_GOAHEAD, SOON), 0);
    vm_client_abort(&vm->vm);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    vm_stop(vm);
    unsigned long all = 1 << EVENT_VM_UP | 1 << EVENT_VM_DOWN | 1 << EVENT_VM_RENAMED |
                        1 << EVENT_MIGRATION_BEGUN | 1 << EVENT_MIGRATION_FAILED | 1 << EVENT_USER_IN |
                        1 << EVENT_USER_OUT | 1 << EVENT_ACCESS;
    WAIT_FOR(events_seen() == all, SOON, "events are %lx instead of %lx", events_seen(), all);
    const struct event *event = fx.events;
    cr_assert_eq(event->type, EVENT_VM_UP);
    cr_assert_eq(memcmp(event->name, "vm1", 3), 0);
    cr_assert_eq(event->port, fx.first_port);
    cr_assert(event->has_uuid);
    cr_assert_eq(event->next->type, EVENT_USER_IN);
    cr_assert_str_eq(event->next->who, "bob (uid 1000)");
    cr_assert_eq(event->next->next->type, EVENT_ACCESS);
    cr_assert_str_eq(event->next->next->detail, "exclusive");
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_MIGRATIONS_ABORTED), 1);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_HANDSHAKES_DONE), 1);
}

Test(console_query, while_draining_a_migration_is_told_not_now)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    atomic_store(&fx.shared.draining, true);
    vm_client_begin(&vm->vm, "1", 1);
    cr_assert_eq(vm_link_wait(vm, VM_EVENT_NOTNOW, SOON), 0);
    atomic_store(&fx.shared.draining, false);
    vm_client_begin(&vm->vm, "2", 1);
    cr_assert_eq(vm_link_wait(vm, VM_EVENT_GOAHEAD, SOON), 0);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_MIGRATIONS_REFUSED), 1);
    vm_client_abort(&vm->vm);
    vm_link_flush(vm, SOON);
    vm_stop(vm);
}

Test(console_query, an_attached_user_reads_and_types_a_byte_255_and_gets_the_scrollback_again)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    vm_print(vm, "a\xff\xff b", 5);
    struct user *bob = fixture_attach("vm1", "bob", ACCESS_RW);
    user_wait_text(bob, "\"log\": null}}\xff\xf0", SOON);
    user_expect(bob, "a\xff\xff\xff\xff b", 7, SOON);
    fixture_ask(bob, "{\"replay\": true}");
    user_expect(bob, "a\xff\xff\xff\xff b", 7, SOON);
    user_send_raw(bob, "\r\n\xff\xff\r\0\xff\xf3x", 9);
    vm_expect(vm, "\r\n\xff\r\0x", 6, SOON);
    cr_assert_eq(vm->breaks, 1);
    vm_print_text(vm, "c");
    user_expect_text(bob, "c", SOON);
    vm_stop(vm);
    fixture_expect_json(bob, "{\"notice\": \"VM disconnected\"}");
    user_close(bob);
}

Test(console_query, an_attached_user_that_does_not_read_skips_output_and_learns_its_access_all_the_same)
{
    struct vm_link *vm = fixture_vm("vm1", NULL);
    struct user *bob = fixture_attach("vm1", "bob", ACCESS_RW);
    struct user *alice = fixture_attach("vm1", "alice", ACCESS_RW);
    char *much = xmalloc(65536);
    memset(much, 'x', 65536);
    for (int i = 0; i < 64; i++) {
        vm_print(vm, much, 65536);
        if (i % 4)
            continue;
        fixture_ask(alice, i % 8 ? "{\"access\": \"rw\"}" : "{\"access\": \"exclusive\"}");
        user_wait_text(alice, i % 8 ? "{\"access\": \"rw\"" : "{\"access\": \"exclusive\"", SOON);
    }
    fixture_ask(alice, "{\"access\": \"exclusive\"}");
    user_wait_text(alice, "{\"access\": \"exclusive\"", SOON);
    vm_print_text(vm, "the end");
    user_wait_text(bob, "\"writes\": false, \"holder\": \"alice (uid 1000)\"}\xff\xf0", SOON);
    user_wait_text(bob, " bytes skipped\"}\xff\xf0", SOON);
    user_wait_text(bob, "the end", SOON);
    free(much);
    user_close(alice);
    user_close(bob);
    vm_stop(vm);
}

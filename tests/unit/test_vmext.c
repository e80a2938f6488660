#include <criterion/criterion.h>
#include <string.h>

#include "vspc/vmext.h"

static struct vmext vm;
static struct bytes out;
static const char *why;

static void begin(void)
{
    vm = (struct vmext){0};
    out = (struct bytes){0};
    why = NULL;
    vmext_agreed(&vm, &out);
    bytes_drop(&out, out.len);
}

static void end(void)
{
    vmext_clear(&vm);
    bytes_clear(&out);
}

TestSuite(vmext, .init = begin, .fini = end);

static enum vmext_event say_to(const char *service_uri, uint8_t code, const void *payload, size_t len)
{
    uint8_t message[1024] = {code};
    if (len)
        memcpy(message + 1, payload, len);
    return vmext_receive(&vm, service_uri, message, len + 1, &out, &why);
}

static enum vmext_event say(uint8_t code, const char *text)
{
    return say_to("", code, text, strlen(text));
}

static const char uuid_text[] = "01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00";

static bool was_sent(const char *bytes, size_t len)
{
    bool same = out.len == len && memcmp(bytes_at(&out), bytes, len) == 0;
    bytes_drop(&out, out.len);
    return same;
}

Test(vmext, questions_go_out_once_when_232_is_agreed)
{
    static const char expected[] =
        "\xff\xfa\xe8\x01\x00\x01\x02\x03\x28\x29\x2b\x2c\x2d\x2e\x30\x46\x47\x49\x50\x51\x52\x53\xff\xf0"
        "\xff\xfa\xe8\x51\xff\xf0\xff\xfa\xe8\x53\xff\xf0";
    struct vmext fresh = {0};
    vmext_agreed(&fresh, &out);
    vmext_agreed(&fresh, &out);
    cr_assert(was_sent(expected, sizeof expected - 1));
}

Test(vmext, proxied_vm_with_name_and_uuid_is_identified_in_every_order)
{
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        end();
        begin();
        say_to("", VMEXT_KNOWN_SUBOPTIONS_1, "\x00\x50", 2);
        for (int j = 0; j < 3; j++) {
            cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_WAIT);
            if (orders[i][j] == 0)
                say(VMEXT_DO_PROXY, "SvSPC.py");
            else if (orders[i][j] == 1)
                say(VMEXT_NAME, "vm1");
            else
                say(VMEXT_VC_UUID, uuid_text);
        }
        cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_IDENTIFIED);
        size_t len;
        char *identity = vmext_identity(&vm, &len);
        cr_assert_str_eq(identity, "uuid:0123456789abcdeffedcba9800000000");
        cr_assert_eq(len, strlen(identity));
        free(identity);
    }
}

Test(vmext, do_proxy_is_answered_at_once)
{
    cr_assert_eq(say(VMEXT_DO_PROXY, "SvSPC.py"), VMEXT_NEWS);
    cr_assert(was_sent("\xff\xfa\xe8\x47\xff\xf0", 6));
}

Test(vmext, wrong_direction_is_refused_and_never_identified)
{
    cr_assert_eq(say(VMEXT_DO_PROXY, "CvSPC.py"), VMEXT_REFUSED);
    cr_assert(was_sent("\xff\xfa\xe8\x49\xff\xf0", 6));
    cr_assert_not_null(strstr(why, "Server"));
    say(VMEXT_NAME, "vm1");
    say(VMEXT_VC_UUID, uuid_text);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_DEADLINE), VMEXT_NEVER);
}

Test(vmext, uri_up_to_the_query_must_equal_service_uri)
{
    static const struct {
        const char *payload;
        enum vmext_event event;
    } cases[] = {
        {"Sprod", VMEXT_NEWS},       {"Sprod?port=a", VMEXT_NEWS}, {"Sprod?", VMEXT_NEWS},
        {"Sprodx", VMEXT_REFUSED},   {"Spro", VMEXT_REFUSED},      {"S", VMEXT_REFUSED},
        {"S?port=a", VMEXT_REFUSED}, {"SPROD", VMEXT_REFUSED},     {"", VMEXT_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        end();
        begin();
        cr_expect_eq(say_to("prod", VMEXT_DO_PROXY, cases[i].payload, strlen(cases[i].payload)),
                     cases[i].event, "%s", cases[i].payload);
    }
}

Test(vmext, label_comes_from_the_query_and_a_bad_one_is_refused)
{
    static const struct {
        const char *payload;
        const char *label; /* NULL: refused */
    } cases[] = {
        {"Sx", ""},
        {"Sx?port=serial1", "serial1"},
        {"Sx?a=b&port=A_b-9&c", "A_b-9"},
        {"Sx?port=12345678901234567890123456789012", "12345678901234567890123456789012"},
        {"Sx?port=123456789012345678901234567890123", NULL},
        {"Sx?port=", NULL},
        {"Sx?port=a.b", NULL},
        {"Sx?port=a/../b", NULL},
        {"Sx?port=a%41", NULL},
        {"Sx?port=a&port=b", NULL},
        {"Sx?port=\n", NULL},
        {"Sx?xport=a", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        end();
        begin();
        enum vmext_event event = say(VMEXT_DO_PROXY, cases[i].payload);
        cr_expect_eq(event, cases[i].label ? VMEXT_NEWS : VMEXT_REFUSED, "%s", cases[i].payload);
        if (cases[i].label)
            cr_expect_str_eq(vm.label, cases[i].label);
    }
    end();
    begin();
    cr_expect_eq(say_to("", VMEXT_DO_PROXY, "Sx?port=a\0b", 11), VMEXT_REFUSED);
}

Test(vmext, label_is_part_of_the_identity)
{
    size_t len;
    say(VMEXT_DO_PROXY, "Sx?port=com2");
    say(VMEXT_NAME, "vm1");
    say(VMEXT_VC_UUID, uuid_text);
    char *identity = vmext_identity(&vm, &len);
    cr_assert_str_eq(identity, "uuid:0123456789abcdeffedcba9800000000.com2");
    free(identity);
}

Test(vmext, uuid_question_is_closed_by_not_knowing_it)
{
    say_to("", VMEXT_KNOWN_SUBOPTIONS_1, "\x00\x50", 2);
    say(VMEXT_DO_PROXY, "Sx");
    say(VMEXT_NAME, "vm1");
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_SETTLED), VMEXT_WAIT);
    cr_assert_eq(say_to("", VMEXT_UNKNOWN_SUBOPTION_RCVD_1, "\x51", 1), VMEXT_NEWS);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_IDENTIFIED);
    size_t len;
    char *identity = vmext_identity(&vm, &len);
    cr_assert_str_eq(identity, "name:vm1");
    free(identity);
}

Test(vmext, answer_without_32_digits_closes_the_uuid_question)
{
    static const char *const answers[] = {"", "none", "01 23",
                                          "01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00 0"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        end();
        begin();
        say_to("", VMEXT_KNOWN_SUBOPTIONS_1, "\x00\x50", 2);
        say(VMEXT_DO_PROXY, "Sx");
        say(VMEXT_NAME, "vm1");
        say(VMEXT_VC_UUID, answers[i]);
        cr_expect(!vm.has_uuid);
        cr_expect_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_IDENTIFIED, "%s", answers[i]);
    }
}

Test(vmext, vm_that_does_not_list_80_is_served_by_name_when_settled)
{
    say_to("", VMEXT_KNOWN_SUBOPTIONS_1, "\x00\x01", 2);
    say(VMEXT_DO_PROXY, "Sx");
    say(VMEXT_NAME, "vm1");
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_WAIT);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_SETTLED), VMEXT_IDENTIFIED);
}

Test(vmext, vm_that_lists_80_and_is_silent_is_served_by_name_at_the_deadline)
{
    say_to("", VMEXT_KNOWN_SUBOPTIONS_1, "\x00\x50", 2);
    say(VMEXT_DO_PROXY, "Sx");
    say(VMEXT_NAME, "vm1");
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_SETTLED), VMEXT_WAIT);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_DEADLINE), VMEXT_NO_ANSWER);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY_DEADLINE), VMEXT_NO_ANSWER);
}

Test(vmext, simple_client_is_served_when_settled_unless_service_uri_is_set)
{
    say(VMEXT_NAME, "test");
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_WAIT);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_SETTLED), VMEXT_IDENTIFIED);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY_DEADLINE), VMEXT_NEVER);
    cr_assert_eq(vmext_judge(&vm, "prod", VMEXT_SETTLED), VMEXT_WAIT);
    cr_assert_eq(vmext_judge(&vm, "prod", VMEXT_DEADLINE), VMEXT_NEVER);
}

Test(vmext, client_that_lists_suboptions_is_not_simple)
{
    say_to("", VMEXT_KNOWN_SUBOPTIONS_1, "\x00", 1);
    say(VMEXT_NAME, "test");
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_SETTLED), VMEXT_WAIT);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_DEADLINE), VMEXT_NEVER);
}

Test(vmext, empty_name_counts_only_with_a_uuid)
{
    say(VMEXT_DO_PROXY, "Sx");
    say(VMEXT_NAME, "");
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_WAIT);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_SETTLED), VMEXT_NAMELESS);
    say(VMEXT_VC_UUID, uuid_text);
    cr_assert_eq(vmext_judge(&vm, "", VMEXT_EARLY), VMEXT_IDENTIFIED);
}

Test(vmext, name_may_be_255_bytes_and_not_more)
{
    char name[256];
    memset(name, 'n', sizeof name);
    cr_assert_eq(say_to("", VMEXT_NAME, name, 255), VMEXT_NEWS);
    cr_assert_eq(vm.name_len, 255);
    cr_assert_eq(say_to("", VMEXT_NAME, name, 256), VMEXT_ERROR);
}

Test(vmext, name_is_any_bytes)
{
    cr_assert_eq(say_to("", VMEXT_NAME, "a\r\n\0\xff", 5), VMEXT_NEWS);
    cr_assert_eq(vm.name_len, 5);
    cr_assert_arr_eq(vm.name, "a\r\n\0\xff", 5);
}

Test(vmext, second_different_uuid_is_an_error_and_the_same_one_is_not)
{
    say(VMEXT_VC_UUID, uuid_text);
    cr_assert_eq(say(VMEXT_VC_UUID, uuid_text), VMEXT_NOTHING);
    cr_assert_eq(say(VMEXT_VC_UUID, "0123456789ABCDEFFEDCBA9800000000"), VMEXT_NOTHING);
    cr_assert_eq(say(VMEXT_VC_UUID, "11 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00"), VMEXT_ERROR);
}

Test(vmext, uuid_after_identification_by_name_is_ignored)
{
    say(VMEXT_DO_PROXY, "Sx");
    say(VMEXT_NAME, "vm1");
    vm.identified = true;
    cr_assert_eq(say(VMEXT_VC_UUID, uuid_text), VMEXT_LATE_UUID);
    cr_assert(!vm.has_uuid);
}

Test(vmext, identified_vm_may_be_renamed_but_not_to_nothing)
{
    say(VMEXT_DO_PROXY, "Sx");
    say(VMEXT_NAME, "vm1");
    vm.identified = true;
    cr_assert_eq(say(VMEXT_NAME, "vm1"), VMEXT_NOTHING);
    cr_assert_eq(say(VMEXT_NAME, "vm2"), VMEXT_RENAMED);
    cr_assert_eq(say(VMEXT_NAME, ""), VMEXT_ERROR);
}

Test(vmext, identified_vm_may_not_become_another_port)
{
    say(VMEXT_DO_PROXY, "Sx?port=a");
    vm.identified = true;
    cr_assert_eq(say(VMEXT_DO_PROXY, "Sx?port=a"), VMEXT_NOTHING);
    cr_assert_eq(say(VMEXT_DO_PROXY, "Sx?port=b"), VMEXT_ERROR);
}

Test(vmext, unknown_code_is_answered_unless_it_is_such_an_answer)
{
    cr_assert_eq(say_to("", 84, "x", 1), VMEXT_NOTHING);
    cr_assert(was_sent("\xff\xfa\xe8\x03\x54\xff\xf0", 7));
    say_to("", 255, NULL, 0);
    cr_assert(was_sent("\xff\xfa\xe8\x03\xff\xff\xff\xf0", 8));
    say_to("", 47, "1234", 4);
    cr_assert(was_sent("\xff\xfa\xe8\x03\x2f\xff\xf0", 7));
    say_to("", VMEXT_UNKNOWN_SUBOPTION_RCVD_1, "\x01", 1);
    say_to("", VMEXT_UNKNOWN_SUBOPTION_RCVD_2, "\x01", 1);
    say_to("", VMEXT_WILL_PROXY, NULL, 0);
    cr_assert_eq(vmext_receive(&vm, "", (const uint8_t *)"", 0, &out, &why), VMEXT_NOTHING);
    cr_assert_eq(out.len, 0);
}

Test(vmext, migration_messages_are_handed_on_with_their_cookie)
{
    cr_assert_eq(say_to("", VMEXT_VMOTION_BEGIN, "\xff\0\1\2", 4), VMEXT_REQUEST);
    cr_assert_eq(vm.request->code, VMEXT_VMOTION_BEGIN);
    cr_assert_eq(vm.request->cookie.sequence_len, 4);
    cr_assert_arr_eq(vm.request->cookie.sequence, "\xff\0\1\2\0", 5);
    cr_assert_eq(say_to("", VMEXT_VMOTION_PEER, "\xff\0\1\2SECRETS!", 12), VMEXT_REQUEST);
    cr_assert_eq(vm.request->code, VMEXT_VMOTION_PEER);
    cr_assert_eq(vm.request->cookie.sequence_len, 4);
    cr_assert_arr_eq(vm.request->cookie.secret, "SECRETS!", 8);
    cr_assert_eq(say_to("", VMEXT_VMOTION_ABORT, NULL, 0), VMEXT_REQUEST);
    cr_assert_eq(vm.request->code, VMEXT_VMOTION_ABORT);
}

Test(vmext, sequences_are_1_to_64_bytes_long)
{
    char long_one[VMEXT_SEQUENCE_MAX + VMEXT_SECRET_SIZE + 1];
    memset(long_one, 's', sizeof long_one);
    cr_assert_eq(say_to("", VMEXT_VMOTION_BEGIN, long_one, 64), VMEXT_REQUEST);
    cr_assert_eq(say_to("", VMEXT_VMOTION_BEGIN, long_one, 65), VMEXT_ERROR);
    cr_assert_eq(say_to("", VMEXT_VMOTION_BEGIN, NULL, 0), VMEXT_ERROR);
    /* A PEER that cannot be right is an unknown one. */
    cr_assert_eq(say_to("", VMEXT_VMOTION_PEER, long_one, 72), VMEXT_REQUEST);
    cr_assert_eq(vm.request->cookie.sequence_len, 64);
    cr_assert_eq(say_to("", VMEXT_VMOTION_PEER, long_one, 73), VMEXT_REQUEST);
    cr_assert_eq(vm.request->cookie.sequence_len, 0);
    cr_assert_eq(say_to("", VMEXT_VMOTION_PEER, long_one, 8), VMEXT_REQUEST);
    cr_assert_eq(vm.request->cookie.sequence_len, 0);
}

Test(vmext, cookies_are_equal_when_every_byte_is)
{
    struct vmext_cookie a = {.sequence_len = 4, .sequence = "abcd", .secret = "12345678"}, b = a;
    struct vmext_cookie none = {0};
    cr_assert(vmext_cookie_equal(&a, &b));
    cr_assert_not(vmext_cookie_equal(&none, &none));
    b.secret[7] ^= 0x80;
    cr_assert_not(vmext_cookie_equal(&a, &b));
    b = a;
    b.sequence[0] ^= 1;
    cr_assert_not(vmext_cookie_equal(&a, &b));
    b = a;
    b.sequence_len = 5;
    cr_assert_not(vmext_cookie_equal(&a, &b));
}

Test(vmext, answers_to_a_migration_double_255)
{
    struct vmext_cookie cookie = {.sequence_len = 2,
                                  .sequence = "\xff\x01",
                                  .secret = "\xff"
                                            "1234567"};
    vmext_put_vmotion(&out, VMEXT_VMOTION_GOAHEAD, &cookie);
    cr_assert(was_sent("\xff\xfa\xe8\x29\xff\xff\x01\xff\xff"
                       "1234567\xff\xf0",
                       18));
    vmext_put_vmotion(&out, VMEXT_VMOTION_NOTNOW, &cookie);
    cr_assert(was_sent("\xff\xfa\xe8\x2b\xff\xff\x01\xff\xf0", 9));
}

Test(vmext, a_destination_that_took_over_has_the_identity_of_the_source)
{
    struct vmext source = {.has_uuid = true, .name = (char *)"vm1", .name_len = 3, .label = "com1"};
    memset(source.uuid, 7, UUID_SIZE);
    vm.peer = true;
    cr_assert_eq(say(VMEXT_VC_UUID, uuid_text), VMEXT_NEWS);
    vmext_succeed(&vm, &source);
    cr_assert(vm.identified);
    cr_assert_arr_eq(vm.uuid, source.uuid, UUID_SIZE);
    cr_assert_str_eq(vm.label, "com1");
    cr_assert_str_eq(vm.name, "vm1");
    /* Whatever it tells of its UUID says nothing any more. */
    cr_assert_eq(say(VMEXT_VC_UUID, uuid_text), VMEXT_LATE_UUID);
    cr_assert_eq(say(VMEXT_VC_UUID, uuid_text), VMEXT_NOTHING);
    cr_assert_eq(say(VMEXT_NAME, "vm2"), VMEXT_RENAMED);
}

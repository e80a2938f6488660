/* The VM's side of the protocol: answers as an ESXi host does, however the bytes are cut, and catches a
 * concentrator that does not keep to it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "vm_client.h"

/* One client and all that it said and told. */
struct rig {
    struct vm_client vm;
    struct bytes data;
    unsigned breaks, errors;
    char error[128];
};

static const uint8_t uuid[UUID_SIZE] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
                                        0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98};

static void on_event(struct vm_client *vm, const struct vm_event *event, void *arg)
{
    (void)vm;
    struct rig *rig = arg;
    if (event->type == VM_EVENT_DATA)
        bytes_put(&rig->data, event->data, event->len);
    if (event->type == VM_EVENT_BREAK)
        rig->breaks++;
    if (event->type == VM_EVENT_PROTOCOL_ERROR && rig->errors++ == 0)
        snprintf(rig->error, sizeof rig->error, "%.*s", (int)event->len, (const char *)event->data);
}

static struct vm_client_options an_esxi_vm(void)
{
    struct vm_client_options opt = {.name = "vm-00000", .name_len = 8};
    memcpy(opt.uuid, uuid, sizeof uuid);
    return opt;
}

static void setup(struct rig *rig, const struct vm_client_options *opt)
{
    memset(rig, 0, sizeof *rig);
    vm_client_init(&rig->vm, opt);
    vm_client_connected(&rig->vm);
}

static void teardown(struct rig *rig)
{
    vm_client_free(&rig->vm);
    bytes_clear(&rig->data);
}

static void hear(struct rig *rig, const void *data, size_t len)
{
    vm_client_input(&rig->vm, data, len, on_event, rig);
}

/* Bytes written in a test as "\xff..." with their length. */
#define HEAR(rig, text) hear(rig, text, sizeof text - 1)

/* Takes all that waits to be sent, which must be exactly this. */
static void said(struct rig *rig, const char *expected, size_t len, int line)
{
    char shown[2048] = "";
    for (size_t i = 0; i < rig->vm.out.len && i < 600; i++)
        snprintf(shown + 3 * i, 4, "%02x ", bytes_at(&rig->vm.out)[i]);
    cr_assert(rig->vm.out.len == len && (len == 0 || memcmp(bytes_at(&rig->vm.out), expected, len) == 0),
              "line %d: the VM said %s", line, shown);
    vm_client_sent(&rig->vm, len);
}
#define SAID(rig, text) said(rig, text, sizeof text - 1, __LINE__)

#define HELLO "\xff\xfb\x00\xff\xfb\x03\xff\xfb\x01\xff\xfd\x00\xff\xfd\x03\xff\xfd\xe8\xff\xfe\x25"
#define KNOWN_2                                                                                              \
    "\xff\xfa\xe8\x01\x00\x01\x02\x03\x28\x29\x2b\x2c\x2d\x2e\x30\x46\x47\x49\x50\x51\x52\x53\xff\xf0"
#define KNOWN_1                                                                                              \
    "\xff\xfa\xe8\x00\x00\x01\x02\x03\x28\x29\x2b\x2c\x2d\x2e\x30\x46\x47\x49\x50\x51\x54\x55\x56\x57\x52"   \
    "\x53\xff\xf0"
#define DO_PROXY "\xff\xfa\xe8\x46SvSPC.py\xff\xf0"
#define ASK_UUID "\xff\xfa\xe8\x51\xff\xf0"
#define ASK_NAME "\xff\xfa\xe8\x53\xff\xf0"
#define WILL_PROXY "\xff\xfa\xe8\x47\xff\xf0"
#define UUID_TEXT_SUB "\xff\xfa\xe8\x50\x30\x31 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00\xff\xf0"
#define NAME_SUB "\xff\xfa\xe8\x52vm-00000\xff\xf0"

/* The concentrator's side of a first connection. */
#define RECORDED HELLO KNOWN_2 ASK_UUID WILL_PROXY ASK_NAME "\xff\xfe\x2c"
/* The VM's, in answer. The recording has DO 0, DO 3, DO 1, WILL 0, WILL 3, WILL 232, in this order too. */
#define OPENING "\xff\xfb\x25"
#define AGREES "\xff\xfd\x00\xff\xfd\x03\xff\xfd\x01\xff\xfb\x00\xff\xfb\x03\xff\xfb\xe8"
#define COM_PORT "\xff\xfb\x2c"

Test(vm_client, answers_a_first_connection_as_recorded)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    SAID(&rig, OPENING);
    HEAR(&rig, HELLO);
    SAID(&rig, AGREES);
    HEAR(&rig, KNOWN_2);
    SAID(&rig, KNOWN_1 DO_PROXY);
    HEAR(&rig, ASK_UUID);
    SAID(&rig, UUID_TEXT_SUB);
    HEAR(&rig, WILL_PROXY);
    SAID(&rig, "");
    cr_assert(!vm_client_is_identified(&rig.vm));
    HEAR(&rig, ASK_NAME);
    SAID(&rig, NAME_SUB COM_PORT);
    cr_assert(vm_client_is_identified(&rig.vm));
    HEAR(&rig, "\xff\xfe\x2clogin: ");
    SAID(&rig, "");
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    cr_assert_eq(rig.data.len, 7);
    teardown(&rig);
}

Test(vm_client, says_the_same_wherever_segments_are_cut)
{
    static const char heard[] = RECORDED "a\xff\xff"
                                         "b\xff\xf3"
                                         "c";
    static const char expected[] = OPENING AGREES KNOWN_1 DO_PROXY UUID_TEXT_SUB NAME_SUB COM_PORT;
    struct vm_client_options opt = an_esxi_vm();
    for (size_t cut = 0; cut < sizeof heard; cut++) {
        struct rig rig;
        setup(&rig, &opt);
        hear(&rig, heard, cut);
        hear(&rig, heard + cut, sizeof heard - 1 - cut);
        said(&rig, expected, sizeof expected - 1, __LINE__);
        cr_assert_eq(rig.errors, 0, "cut at %zu: %s", cut, rig.error);
        cr_assert_eq(rig.breaks, 1);
        cr_assert(rig.data.len == 4 && memcmp(bytes_at(&rig.data),
                                              "a\xff"
                                              "bc",
                                              4) == 0);
        teardown(&rig);
    }
    struct rig rig;
    setup(&rig, &opt);
    for (size_t i = 0; i < sizeof heard - 1; i++)
        hear(&rig, heard + i, 1);
    said(&rig, expected, sizeof expected - 1, __LINE__);
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    teardown(&rig);
}

Test(vm_client, holds_no_buffer_when_idle)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    HEAR(&rig, RECORDED);
    vm_client_sent(&rig.vm, rig.vm.out.len);
    cr_assert_null(rig.vm.out.data);
    cr_assert_null(rig.vm.sub.data);
    cr_assert_null(rig.vm.migration);
    teardown(&rig);
}

Test(vm_client, offers_everything_at_once_when_told_to)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    opt.offers = true;
    opt.query = "port=serial1";
    setup(&rig, &opt);
    SAID(&rig, "\xff\xfb\xe8" KNOWN_1);
    HEAR(&rig, "\xff\xfd\xe8" KNOWN_2 ASK_UUID ASK_NAME);
    SAID(&rig, "\xff\xfa\xe8\x46SvSPC.py?port=serial1\xff\xf0" UUID_TEXT_SUB NAME_SUB);
    HEAR(&rig, WILL_PROXY);
    cr_assert(vm_client_is_identified(&rig.vm));
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    teardown(&rig);
}

Test(vm_client, leaves_code_80_out_when_told_to)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    opt.omits_code_80 = opt.offers = true;
    setup(&rig, &opt);
    SAID(&rig, "\xff\xfb\xe8\xff\xfa\xe8\x00\x00\x01\x02\x03\x28\x29\x2b\x2c\x2d\x2e\x30\x46\x47\x49\x51\x54"
               "\x55\x56\x57"
               "\x52\x53\xff\xf0");
    teardown(&rig);
}

/* What the VM says after GET-VM-VC-UUID and GET-VM-NAME, with COM-PORT left out. */
static void questions(const struct vm_client_options *opt, const char *expected, size_t len)
{
    struct rig rig;
    setup(&rig, opt);
    HEAR(&rig, HELLO KNOWN_2);
    vm_client_sent(&rig.vm, rig.vm.out.len);
    HEAR(&rig, ASK_UUID ASK_NAME);
    said(&rig, expected, len, __LINE__);
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    teardown(&rig);
}
#define QUESTIONS(opt, text) questions(opt, text, sizeof text - 1)

Test(vm_client, answers_the_uuid_question_as_told)
{
    struct vm_client_options opt = an_esxi_vm();
    QUESTIONS(&opt, UUID_TEXT_SUB NAME_SUB COM_PORT);
    opt.name_first = true;
    QUESTIONS(&opt, NAME_SUB UUID_TEXT_SUB COM_PORT);
    opt.uuid_answer = VM_UUID_UNKNOWN;
    QUESTIONS(&opt, NAME_SUB "\xff\xfa\xe8\x02\x51\xff\xf0" COM_PORT);
    opt.uuid_answer = VM_UUID_SILENT;
    QUESTIONS(&opt, NAME_SUB COM_PORT);
    opt.uuid_answer = VM_UUID_GARBAGE;
    QUESTIONS(&opt, NAME_SUB "\xff\xfa\xe8\x50no such thing\xff\xf0" COM_PORT);
}

Test(vm_client, a_simple_client_agrees_to_232_and_tells_its_name)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    opt.simple = true;
    setup(&rig, &opt);
    SAID(&rig, "");
    HEAR(&rig, "\xff\xfb\x01\xff\xfd\x00\xff\xfd\xe8" KNOWN_2 ASK_UUID ASK_NAME);
    SAID(&rig, "\xff\xfe\x01\xff\xfc\x00\xff\xfb\xe8" NAME_SUB);
    cr_assert(vm_client_is_identified(&rig.vm));
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    teardown(&rig);
}

Test(vm_client, doubles_255_in_data_names_and_sequences)
{
    struct rig rig;
    struct vm_client_options opt = {.name = "a\xff", .name_len = 2, .uuid_answer = VM_UUID_SILENT};
    setup(&rig, &opt);
    HEAR(&rig, HELLO KNOWN_2);
    vm_client_sent(&rig.vm, rig.vm.out.len);
    HEAR(&rig, ASK_NAME);
    SAID(&rig, "\xff\xfa\xe8\x52"
               "a\xff\xff\xff\xf0" COM_PORT);
    vm_client_send(&rig.vm, "\xff\xff\0", 3);
    SAID(&rig, "\xff\xff\xff\xff\0");
    vm_client_begin(&rig.vm, "\xff\x01", 2);
    SAID(&rig, "\xff\xfa\xe8\x28\xff\xff\x01\xff\xf0");
    teardown(&rig);
}

Test(vm_client, tells_a_new_name_once_it_was_asked)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    HEAR(&rig, RECORDED);
    vm_client_sent(&rig.vm, rig.vm.out.len);
    vm_client_rename(&rig.vm, "other", 5);
    SAID(&rig, "\xff\xfa\xe8\x52other\xff\xf0");
    vm_client_connected(&rig.vm);
    vm_client_sent(&rig.vm, rig.vm.out.len);
    vm_client_rename(&rig.vm, "third", 5);
    SAID(&rig, "");
    teardown(&rig);
}

/* Makes rig a source that has been given the go-ahead for sequence "q\xff", with the secret "\xff" "1". */
static void freeze(struct rig *rig)
{
    struct vm_client_options opt = an_esxi_vm();
    setup(rig, &opt);
    HEAR(rig, RECORDED);
    vm_client_begin(&rig->vm, "q\xff", 2);
    HEAR(rig, "late\xff\xfa\xe8\x29q\xff\xff\xff\xff\x31\xff\xf0");
    vm_client_sent(&rig->vm, rig->vm.out.len);
    cr_assert(vm_client_has_seen(&rig->vm, VM_EVENT_GOAHEAD));
    cr_assert_eq(rig->errors, 0, "%s", rig->error);
}

Test(vm_client, migrates_with_the_secret_of_goahead)
{
    struct rig source, destination;
    freeze(&source);
    struct vm_client_options opt = an_esxi_vm();
    opt.peer = source.vm.migration;
    setup(&destination, &opt);
    HEAR(&destination, HELLO);
    vm_client_sent(&destination.vm, destination.vm.out.len);
    HEAR(&destination, KNOWN_2);
    SAID(&destination, KNOWN_1 "\xff\xfa\xe8\x2cq\xff\xff\xff\xff\x31\xff\xf0");
    cr_assert(!vm_client_is_identified(&destination.vm));
    HEAR(&destination, "\xff\xfa\xe8\x2dq\xff\xff\xff\xf0");
    cr_assert(vm_client_is_identified(&destination.vm));
    vm_client_complete(&destination.vm);
    SAID(&destination, "\xff\xfa\xe8\x2eq\xff\xff\xff\xf0");
    cr_assert_eq(destination.errors, 0, "%s", destination.error);
    teardown(&destination);
    teardown(&source);
}

Test(vm_client, a_frozen_source_hears_nothing_until_it_goes_on)
{
    struct rig rig;
    freeze(&rig);
    HEAR(&rig, "k");
    cr_assert_eq(rig.errors, 1);
    vm_client_abort(&rig.vm);
    SAID(&rig, "\xff\xfa\xe8\x30\xff\xf0");
    HEAR(&rig, "k");
    cr_assert_eq(rig.errors, 1);
    teardown(&rig);
    freeze(&rig);
    vm_client_send(&rig.vm, "I run again", 11);
    HEAR(&rig, "k");
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    teardown(&rig);
}

Test(vm_client, notnow_leaves_the_source_running)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    HEAR(&rig, RECORDED);
    vm_client_begin(&rig.vm, "seq", 3);
    HEAR(&rig, "\xff\xfa\xe8\x2bseq\xff\xf0still here");
    cr_assert(vm_client_has_seen(&rig.vm, VM_EVENT_NOTNOW));
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    teardown(&rig);
}

/* What the concentrator says after a good beginning is a protocol error. */
static void is_wrong(const char *heard, size_t len, const char *error)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    HEAR(&rig, RECORDED);
    cr_assert_eq(rig.errors, 0, "%s", rig.error);
    hear(&rig, heard, len);
    cr_assert_eq(rig.errors, 1, "%u errors instead of: %s", rig.errors, error);
    cr_assert(strstr(rig.error, error), "`%s` instead of `%s`", rig.error, error);
    cr_assert_eq(rig.vm.errors, 1);
    teardown(&rig);
}
#define IS_WRONG(text, error) is_wrong(text, sizeof text - 1, error)

Test(vm_client, catches_a_concentrator_that_breaks_the_protocol)
{
    IS_WRONG("\xff\xfd\x00", "negotiates an option again (0)");
    IS_WRONG("\xff\xfb\x01", "negotiates an option again (1)");
    IS_WRONG("\xff\xfe\x25", "negotiates an option again (37)");
    IS_WRONG("\xff\xfd\x2c", "takes an option that it cannot do (44)");
    IS_WRONG("\xff\xfe\xe8", "refuses VMWARE-TELNET-EXT");
    IS_WRONG(KNOWN_2, "sent twice (1)");
    IS_WRONG(ASK_UUID, "asked twice (81)");
    IS_WRONG(ASK_NAME, "asked twice (83)");
    IS_WRONG(WILL_PROXY, "answers DO-PROXY twice (71)");
    IS_WRONG("\xff\xfa\xe8\x49\xff\xf0", "answers DO-PROXY twice (73)");
    IS_WRONG("\xff\xfa\xe8\x55x\xff\xf0", "payload where there is none (85)");
    IS_WRONG("\xff\xfa\xe8\x46S\xff\xf0", "not for a proxy to send (70)");
    IS_WRONG("\xff\xfa\xe8\x63\xff\xf0", "not for a proxy to send (99)");
    IS_WRONG("\xff\xfa\xe8\x29seq\xff\xf0", "GOAHEAD for a migration that was not begun");
    IS_WRONG("\xff\xfa\xe8\x2bseq\xff\xf0", "NOTNOW for a migration that was not begun");
    IS_WRONG("\xff\xfa\xe8\x2dseq\xff\xf0", "PEER-OK for another migration");
    IS_WRONG("\xff\xfa\xe8\xff\xf0", "without a code");
    IS_WRONG("\xff\xfa\x2c\x01\xff\xf0", "an option that is not on (44)");
    IS_WRONG("\xff\xfa\xe8\x50\xff\xf1", "ends without SE");
    IS_WRONG("\xff\xf6", "no use for (246)");
    IS_WRONG("\xff\xf0", "no use for (240)");
}

Test(vm_client, catches_messages_before_232_is_agreed)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    HEAR(&rig, ASK_NAME);
    cr_assert_eq(rig.errors, 1);
    SAID(&rig, OPENING);
    teardown(&rig);
}

Test(vm_client, catches_an_endless_subnegotiation)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    HEAR(&rig, RECORDED "\xff\xfa\xe8\x03");
    static uint8_t many[5000];
    hear(&rig, many, sizeof many);
    for (int i = 0; i < 3000; i++)
        HEAR(&rig, "\xff\xffxx");
    cr_assert_leq(rig.vm.sub.cap, 2048);
    HEAR(&rig, "\xff\xf0"
               "fine");
    cr_assert_eq(rig.errors, 1);
    cr_assert_eq(rig.data.len, 4);
    teardown(&rig);
}

Test(vm_client, refuses_foreign_options_but_not_for_ever)
{
    struct rig rig;
    struct vm_client_options opt = an_esxi_vm();
    setup(&rig, &opt);
    vm_client_sent(&rig.vm, rig.vm.out.len);
    HEAR(&rig, "\xff\xfd\x18\xff\xfb\x22");
    SAID(&rig, "\xff\xfc\x18\xff\xfe\x22");
    for (int i = 0; i < 100; i++)
        HEAR(&rig, "\xff\xfd\x18");
    cr_assert_eq(rig.errors, 86);
    cr_assert_eq(rig.vm.out.len, 14 * 3);
    teardown(&rig);
}

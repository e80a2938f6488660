#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vspc/sock.h"

/* Address and port as they are shown, or "" where the text is refused. */
static const char *shown(const char *text)
{
    static char out[SOCK_TEXT];
    struct sock_addr addr;
    out[0] = 0;
    int err = sock_addr_port_parse(text, &addr);
    if (err == 0)
        sock_addr_format(&addr, out);
    else
        cr_assert_eq(err, -EINVAL);
    return out;
}

static struct sock_addr address(const char *text)
{
    struct sock_addr addr;
    cr_assert_eq(sock_addr_parse(text, 7, &addr), 0, "%s", text);
    return addr;
}

static struct network network(const char *text)
{
    struct network net;
    cr_assert_eq(network_parse(text, &net), 0, "%s", text);
    return net;
}

Test(sock_addr, address_with_port_is_read_and_shown_alike)
{
    static const char *const texts[] = {"10.0.0.7:80",      "0.0.0.0:13370",      "255.255.255.255:65535",
                                        "[fd00::7]:80",     "[::]:13370",         "[::1]:1",
                                        "[fe80::1:2]:8080", "[2001:db8::1]:65535"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_str_eq(shown(texts[i]), texts[i]);
}

Test(sock_addr, anything_but_number_and_port_is_refused)
{
    static const char *const texts[] = {"",
                                        ":",
                                        ":80",
                                        "10.0.0.7",
                                        "10.0.0.7:",
                                        "10.0.0.7:0",
                                        "10.0.0.7:65536",
                                        "10.0.0.7:99999999999999999999",
                                        "10.0.0.7:-1",
                                        "10.0.0.7:+1",
                                        "10.0.0.7: 1",
                                        "10.0.0.7:80x",
                                        "10.0.0.7:80:80",
                                        "10.0.0:80",
                                        "10.0.0.256:80",
                                        " 10.0.0.7:80",
                                        "localhost:80",
                                        "::1:80",
                                        "fd00::7",
                                        "[fd00::7]",
                                        "[fd00::7:80",
                                        "fd00::7]:80",
                                        "[]:80",
                                        "[:80",
                                        "]:80",
                                        "[fe80::1%lo]:80",
                                        "[fd00::7]80",
                                        "[[fd00::7]]:80",
                                        "[10.0.0.7.]:80"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_str_eq(shown(texts[i]), "", "%s was taken", texts[i]);
}

Test(sock_addr, endless_text_is_refused)
{
    char text[4096];
    memset(text, '1', sizeof text);
    memcpy(text + sizeof text - 4, ":80", 4);
    struct sock_addr addr;
    struct network net;
    cr_expect_eq(sock_addr_port_parse(text, &addr), -EINVAL);
    cr_expect_eq(sock_addr_parse(text, 80, &addr), -EINVAL);
    cr_expect_eq(network_parse(text, &net), -EINVAL);
    memcpy(text, "10.0.0.0/", 9);
    text[sizeof text - 4] = 0;
    cr_expect_eq(network_parse(text, &net), -EINVAL);
}

Test(sock_addr, longest_address_fits_its_text)
{
    cr_expect_str_eq(shown("[1111:2222:3333:4444:5555:6666:7777:8888]:65535"),
                     "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}

Test(sock_addr, ipv4_in_ipv6_is_shown_as_ipv4)
{
    cr_expect_str_eq(shown("[::ffff:10.0.0.7]:80"), "10.0.0.7:80");
}

Test(sock_addr, address_alone_takes_the_port_it_is_given)
{
    struct sock_addr addr = address("fd00::7");
    char host[SOCK_TEXT];
    cr_expect_eq(sock_addr_port(&addr), 7);
    sock_addr_set_port(&addr, 50000);
    cr_expect_eq(sock_addr_port(&addr), 50000);
    sock_addr_host(&addr, host);
    cr_expect_str_eq(host, "fd00::7");
    cr_expect_eq(sock_addr_parse("[fd00::7]", 7, &addr), -EINVAL);
    cr_expect_eq(sock_addr_parse("10.0.0.7:7", 7, &addr), -EINVAL);
    cr_expect_eq(sock_addr_parse("", 7, &addr), -EINVAL);
}

Test(sock_addr, loopback_is_127_and_one)
{
    static const char *const yes[] = {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"};
    static const char *const no[] = {"0.0.0.0", "128.0.0.1", "10.127.0.1", "::", "::2", "::ffff:10.0.0.1"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        struct sock_addr addr = address(yes[i]);
        cr_expect(sock_addr_is_loopback(&addr), "%s", yes[i]);
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        struct sock_addr addr = address(no[i]);
        cr_expect_not(sock_addr_is_loopback(&addr), "%s", no[i]);
    }
}

Test(sock_addr, only_two_colons_are_any_ipv6)
{
    struct sock_addr any6 = address("::"), any4 = address("0.0.0.0"), one = address("::1");
    cr_expect(sock_addr_is_any6(&any6));
    cr_expect_not(sock_addr_is_any6(&any4));
    cr_expect_not(sock_addr_is_any6(&one));
}

Test(network, is_read_and_shown_alike)
{
    static const char *const texts[] = {"10.0.0.0/8",  "0.0.0.0/0",    "10.0.0.7/32", "172.16.0.0/12",
                                        "128.0.0.0/1", "fd00::/8",     "::/0",        "fd00::7/128",
                                        "fe80::/10",   "2001:db8::/33"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct network net = network(texts[i]);
        char out[SOCK_TEXT];
        network_format(&net, out);
        cr_expect_str_eq(out, texts[i]);
    }
}

Test(network, address_alone_is_a_network_of_one)
{
    struct network net = network("10.0.0.7");
    char out[SOCK_TEXT];
    network_format(&net, out);
    cr_expect_str_eq(out, "10.0.0.7/32");
    net = network("fd00::7");
    network_format(&net, out);
    cr_expect_str_eq(out, "fd00::7/128");
}

Test(network, bits_behind_the_prefix_are_an_error_of_their_own)
{
    static const char *const texts[] = {"10.0.0.1/8", "10.128.0.0/8", "10.0.0.1/31", "1.0.0.0/0",
                                        "fd00::1/8",  "::1/0",        "fe90::/11",   "::ffff:10.0.0.0/95"};
    struct network net;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_eq(network_parse(texts[i], &net), -EDOM, "%s", texts[i]);
}

Test(network, malformed_networks_are_refused)
{
    static const char *const texts[] = {"",
                                        "/",
                                        "/8",
                                        "10.0.0.0/",
                                        "10.0.0.0/33",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/8x",
                                        "10.0.0/8",
                                        "10/8",
                                        "fd00::/129",
                                        "fd00::/ 8",
                                        "[fd00::]/8",
                                        "10.0.0.0/8/8",
                                        "host/8",
                                        "10.0.0.0/18446744073709551624"};
    struct network net;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_eq(network_parse(texts[i], &net), -EINVAL, "%s", texts[i]);
}

Test(network, empty_list_holds_everybody)
{
    struct network_list list = {0};
    struct sock_addr addr = address("10.0.0.7");
    cr_expect(network_list_holds(&list, &addr));
}

Test(network, list_holds_what_one_of_its_networks_holds)
{
    struct network nets[] = {network("10.0.0.0/8"), network("172.16.0.0/12"), network("fd00::/9")};
    struct network_list list = {3, nets};
    static const char *const in[] = {"10.0.0.0",        "10.255.255.255", "172.31.255.255",
                                     "::ffff:10.1.2.3", "fd7f::ffff",     "fd00::"};
    static const char *const out[] = {"11.0.0.0", "9.255.255.255", "172.32.0.0", "172.15.255.255",
                                      "fd80::",   "::a00:1",       "fc00::"};
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        struct sock_addr addr = address(in[i]);
        cr_expect(network_list_holds(&list, &addr), "%s", in[i]);
    }
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
        struct sock_addr addr = address(out[i]);
        cr_expect_not(network_list_holds(&list, &addr), "%s", out[i]);
    }
}

Test(network, all_of_ipv4_leaves_ipv6_out)
{
    struct network net = network("0.0.0.0/0");
    struct network_list list = {1, &net};
    struct sock_addr four = address("203.0.113.9"), mapped = address("::ffff:203.0.113.9"),
                     six = address("::1");
    cr_expect(network_list_holds(&list, &four));
    cr_expect(network_list_holds(&list, &mapped));
    cr_expect_not(network_list_holds(&list, &six));
}

/* Reads what is there and forgets it. */
static size_t swallow(int fd)
{
    char buffer[4096];
    size_t all = 0;
    for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0;)
        all += (size_t)n;
    return all;
}

Test(sock_send, pieces_arrive_one_behind_the_other)
{
    int pair[2];
    char got[16];
    struct iovec piece[] = {{"one", 3}, {" two", 4}, {" three", 6}};
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    cr_expect_eq(sock_send(pair[0], piece, 1), 3);
    cr_expect_eq(sock_send(pair[0], piece + 1, 2), 10);
    cr_assert_eq(recv(pair[1], got, sizeof got, 0), 13);
    cr_expect_arr_eq(got, "one two three", 13);
    close(pair[0]);
    close(pair[1]);
}

Test(sock_send, a_full_socket_takes_nothing_and_a_closed_one_is_an_error)
{
    int pair[2];
    char data[4096] = {0};
    struct iovec piece[] = {{data, sizeof data}, {data, sizeof data}};
    for (int pieces = 1; pieces <= 2; pieces++) {
        size_t sent = 0;
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        for (ssize_t n; (n = sock_send(pair[0], piece, pieces)) != 0;) {
            cr_assert_gt(n, 0);
            sent += (size_t)n;
        }
        cr_expect_eq(swallow(pair[1]), sent);
        close(pair[1]);
        cr_expect_eq(sock_send(pair[0], piece, pieces), -EPIPE);
        close(pair[0]);
    }
}

/* Of two neighbours none is probed with the other. */
Test(sock, keepalive_of_many_is_spread_over_half_of_it)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), idle, before = 0, least = 60, most = 0;
    socklen_t len = sizeof idle;
    cr_assert_eq(sock_set_keepalive(fd, 60000), 0);
    for (uint64_t number = 1; number <= 1000; number++) {
        cr_assert_eq(sock_stagger_keepalive(fd, 60000, number), 0);
        cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len), 0);
        cr_assert_neq(idle, before);
        before = idle;
        least = idle < least ? idle : least;
        most = idle > most ? idle : most;
    }
    cr_assert_eq(least, 30);
    cr_assert_eq(most, 60);
    cr_assert_eq(sock_stagger_keepalive(fd, 1000, 7), 0);
    cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len), 0);
    cr_assert_eq(idle, 1);
    cr_assert_eq(sock_stagger_keepalive(fd, 0, 7), 0);
    close(fd);
}

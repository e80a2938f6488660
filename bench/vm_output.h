/* VM output: what the two halves of vm_client share, the telnet codes and the messages that a VM queues as
 * replies. For vm_client.c and vm_input.c alone. */
#ifndef VSPC_VM_OUTPUT_H
#define VSPC_VM_OUTPUT_H

#include "vm_client.h"

enum telnet_command {
    SE = 240,
    NOP = 241,
    BRK = 243,
    GA = 249,
    SB = 250,
    WILL = 251,
    WONT = 252,
    DO = 253,
    DONT = 254,
    IAC = 255,
};

enum telnet_option {
    OPT_BINARY = 0,
    OPT_ECHO = 1,
    OPT_SGA = 3,
    OPT_AUTHENTICATION = 37,
    OPT_COM_PORT = 44,
    OPT_VMWARE = 232,
};

/* IAC verb option. */
void vm_put_verb(struct vm_client *vm, uint8_t verb, uint8_t option);
/* KNOWN-SUBOPTIONS-1, in a host's order. */
void vm_put_known(struct vm_client *vm);
/* What says which console this connection is for, DO-PROXY or a destination's VMOTION-PEER; once. */
void vm_put_proxy(struct vm_client *vm);
/* The answer to VM_GET_VC_UUID and its kin, as the options will have it, which may be none. */
void vm_put_uuid(struct vm_client *vm, uint8_t question);

#endif

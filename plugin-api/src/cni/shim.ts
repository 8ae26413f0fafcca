/**
 * The program that the runtime executes for a network that is written as functions: it hands the call to the plugin.
 *
 * It connects to the plugin's socket, sends each environment variable whose name begins with CNI_ (ended by a zero
 * byte, and another one after the last), then its input, and closes that direction. The answer is one byte, the exit
 * code, and the output. When nobody answers, it prints the error that it was made with and ends with 1.
 * It is some 700 bytes of machine code, because a network is called for every pod: Node would take 40 ms to start, and a
 * shell has no unix sockets.
 */

export const shimMachines = Object.freeze(["x64", "arm64"] as const);
export type ShimMachine = (typeof shimMachines)[number];

/** Bytes of a path that a socket's address holds, the zero at its end not counted. */
const maxPath = 107;
const base = 0x400000;
const headerSize = 64 + 56;

/** An ELF64 executable with one segment; `down` is what it prints when the plugin does not answer. */
export function cniShim(machine: ShimMachine, socketPath: string, down: string): Buffer {
  if (Buffer.byteLength(socketPath) > maxPath) throw new Error(`${socketPath} is too long for a socket: ${maxPath} bytes are allowed`);
  const code = assembled(listings[machine], machine);
  const text = Buffer.from(down);
  // sockaddr_un, the length of the text, the text; the zero that ends the variables is the address's last byte.
  const data = Buffer.alloc(116);
  data.writeUInt16LE(1, 0);
  data.write(socketPath, 2);
  data.writeUInt32LE(text.length, 112);
  return Buffer.concat([header(machine, code.length + data.length + text.length), code, data, text]);
}

function header(machine: ShimMachine, size: number): Buffer {
  const file = Buffer.alloc(headerSize);
  file.write("\x7fELF\x02\x01\x01", 0, "latin1");
  for (const [offset, value] of [[16, 2], [18, machine === "x64" ? 62 : 183], [52, 64], [54, 56], [56, 1], [58, 64]] as const) file.writeUInt16LE(value, offset);
  for (const [offset, value] of [[20, 1], [64, 1], [68, 5]] as const) file.writeUInt32LE(value, offset);
  const total = headerSize + size;
  for (const [offset, value] of [[24, base + headerSize], [32, 64], [80, base], [88, base], [96, total], [104, total], [112, 0x1000]] as const) file.writeBigUInt64LE(BigInt(value), offset);
  return file;
}

/** The bytes between the label and the bar of each line; a word of arm64 is written with its highest byte first. */
function assembled(listing: string, machine: ShimMachine): Buffer {
  const instructions = [...listing.matchAll(/^ +(?:\w+:)? +([0-9a-f ]+?) *\|/gm)].map(([, hex]) => Buffer.from(hex!.replaceAll(" ", ""), "hex"));
  return Buffer.concat(machine === "x64" ? instructions : instructions.map((word) => word.reverse()));
}

/** As GNU as and objdump print them. Registers: fd in ebp and x20, the next variable in rbx and x19. */
const listings: Readonly<Record<ShimMachine, string>> = {
  x64: `
  start:  48 8b 1c 24          | mov rbx, [rsp]
          48 8d 5c dc 10       | lea rbx, [rsp+rbx*8+16]
          48 81 ec 00 10 00 00 | sub rsp, 4096
          b8 29 00 00 00       | mov eax, 41  ; socket
          bf 01 00 00 00       | mov edi, 1
          89 fe                | mov esi, edi
          31 d2                | xor edx, edx
          0f 05                | syscall
          89 c5                | mov ebp, eax
          b8 2a 00 00 00       | mov eax, 42  ; connect
          89 ef                | mov edi, ebp
          48 8d 35 d6 00 00 00 | lea rsi, [rip+data]
          ba 6e 00 00 00       | mov edx, 110
          0f 05                | syscall
          85 c0                | test eax, eax
          0f 88 a6 00 00 00    | js down
          41 ba 00 40 00 00    | mov r10d, 0x4000
          45 31 c0             | xor r8d, r8d
          45 31 c9             | xor r9d, r9d
  env:    48 8b 33             | mov rsi, [rbx]
          48 83 c3 08          | add rbx, 8
          48 85 f6             | test rsi, rsi
          74 22                | jz end
          81 3e 43 4e 49 5f    | cmp dword ptr [rsi], 0x5f494e43
          75 ec                | jne env
          48 89 f2             | mov rdx, rsi
  len:    48 ff c2             | inc rdx
          80 7a ff 00          | cmp byte ptr [rdx-1], 0
          75 f7                | jne len
          48 29 f2             | sub rdx, rsi
          b8 2c 00 00 00       | mov eax, 44  ; sendto
          89 ef                | mov edi, ebp
          0f 05                | syscall
          eb d2                | jmp env
  end:    48 8d 35 f3 00 00 00 | lea rsi, [rip+data+109]
          ba 01 00 00 00       | mov edx, 1
  stdin:  b8 2c 00 00 00       | mov eax, 44  ; sendto
          89 ef                | mov edi, ebp
          0f 05                | syscall
          31 c0                | xor eax, eax  ; read
          31 ff                | xor edi, edi
          48 89 e6             | mov rsi, rsp
          ba 00 10 00 00       | mov edx, 4096
          0f 05                | syscall
          89 c2                | mov edx, eax
          85 c0                | test eax, eax
          7f e3                | jg stdin
          b8 30 00 00 00       | mov eax, 48  ; shutdown
          89 ef                | mov edi, ebp
          be 01 00 00 00       | mov esi, 1
          0f 05                | syscall
          31 c0                | xor eax, eax  ; read
          89 ef                | mov edi, ebp
          48 89 e6             | mov rsi, rsp
          ba 01 00 00 00       | mov edx, 1
          0f 05                | syscall
          ff c8                | dec eax
          75 23                | jnz down
          0f b6 1c 24          | movzx ebx, byte ptr [rsp]
  stdout: 31 c0                | xor eax, eax  ; read
          89 ef                | mov edi, ebp
          48 89 e6             | mov rsi, rsp
          ba 00 10 00 00       | mov edx, 4096
          0f 05                | syscall
          89 c2                | mov edx, eax
          85 c0                | test eax, eax
          7e 23                | jle exit
          b8 01 00 00 00       | mov eax, 1  ; write
          89 c7                | mov edi, eax
          0f 05                | syscall
          eb e1                | jmp stdout
  down:   b8 01 00 00 00       | mov eax, 1  ; write
          89 c7                | mov edi, eax
          89 c3                | mov ebx, eax
          48 8d 35 85 00 00 00 | lea rsi, [rip+data+116]
          8b 15 7b 00 00 00    | mov edx, [rip+data+112]
          0f 05                | syscall
  exit:   b8 e7 00 00 00       | mov eax, 231  ; exit_group
          89 df                | mov edi, ebx
          0f 05                | syscall`,
  arm64: `
  start:  f94003f3 | ldr x19, [sp]
          8b336ff3 | add x19, sp, x19, lsl #3
          91004273 | add x19, x19, #16
          d14007ff | sub sp, sp, #4096
          d28018c8 | mov x8, #198  ; socket
          d2800020 | mov x0, #1
          d2800021 | mov x1, #1
          d2800002 | mov x2, #0
          d4000001 | svc #0
          aa0003f4 | mov x20, x0
          d2801968 | mov x8, #203  ; connect
          100008a1 | adr x1, data
          d2800dc2 | mov x2, #110
          d4000001 | svc #0
          b7f80700 | tbnz x0, #63, down
          d2880003 | mov x3, #0x4000
          d2800004 | mov x4, #0
          d2800005 | mov x5, #0
          5289c866 | mov w6, #0x4e43
          72abe926 | movk w6, #0x5f49, lsl #16
  env:    f8408661 | ldr x1, [x19], #8
          b4000181 | cbz x1, end
          b9400027 | ldr w7, [x1]
          6b0600ff | cmp w7, w6
          54ffff81 | b.ne env
          aa0103e2 | mov x2, x1
  len:    38401447 | ldrb w7, [x2], #1
          35ffffe7 | cbnz w7, len
          cb010042 | sub x2, x2, x1
          d28019c8 | mov x8, #206  ; sendto
          aa1403e0 | mov x0, x20
          d4000001 | svc #0
          17fffff4 | b env
  end:    30000941 | adr x1, data+109
          d2800022 | mov x2, #1
  stdin:  d28019c8 | mov x8, #206  ; sendto
          aa1403e0 | mov x0, x20
          d4000001 | svc #0
          d28007e8 | mov x8, #63  ; read
          d2800000 | mov x0, #0
          910003e1 | mov x1, sp
          d2820002 | mov x2, #4096
          d4000001 | svc #0
          aa0003e2 | mov x2, x0
          f100001f | cmp x0, #0
          54fffecc | b.gt stdin
          d2801a48 | mov x8, #210  ; shutdown
          aa1403e0 | mov x0, x20
          d2800021 | mov x1, #1
          d4000001 | svc #0
          d28007e8 | mov x8, #63  ; read
          aa1403e0 | mov x0, x20
          910003e1 | mov x1, sp
          d2800022 | mov x2, #1
          d4000001 | svc #0
          f100041f | cmp x0, #1
          540001c1 | b.ne down
          394003f3 | ldrb w19, [sp]
  stdout: d28007e8 | mov x8, #63  ; read
          aa1403e0 | mov x0, x20
          910003e1 | mov x1, sp
          d2820002 | mov x2, #4096
          d4000001 | svc #0
          aa0003e2 | mov x2, x0
          f100001f | cmp x0, #0
          5400018d | b.le exit
          d2800808 | mov x8, #64  ; write
          d2800020 | mov x0, #1
          d4000001 | svc #0
          17fffff5 | b stdout
  down:   d2800808 | mov x8, #64  ; write
          d2800020 | mov x0, #1
          100004a1 | adr x1, data+116
          10000462 | adr x2, data+112
          b9400042 | ldr w2, [x2]
          d2800033 | mov x19, #1
          d4000001 | svc #0
  exit:   d2800bc8 | mov x8, #94  ; exit_group
          aa1303e0 | mov x0, x19
          d4000001 | svc #0`,
};

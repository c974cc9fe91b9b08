/** Compares IP addresses in their various text forms. */
import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');
loopback.addSubnet('::ffff:127.0.0.0', 104, 'ipv6');

/** Whether a text is an IP address, in whatever form, that only this machine reaches. */
export function isLoopbackAddress(text: string): boolean {
  const version = isIP(text);
  // A zone, as in fe80::1%eth0, is no part of what is compared.
  return version !== 0 && !text.includes('%') && loopback.check(text, version === 4 ? 'ipv4' : 'ipv6');
}

/** Whether two texts are the same IP address; false when one is none. */
export function isSameAddress(a: string, b: string | undefined): boolean {
  if (b === undefined || isIP(a) === 0 || isIP(b) === 0 || a.includes('%') || b.includes('%')) return false;
  return canonical(a) === canonical(b);
}

function canonical(address: string): string {
  if (isIP(address) === 4) return address;
  const host = new URL(`http://[${address}]`).hostname;
  const mapped = /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/.exec(host);
  if (mapped === null) return host;
  const parts = mapped.slice(1).map((text) => Number.parseInt(text, 16));
  return parts.flatMap((part) => [part >> 8, part & 255]).join('.');
}

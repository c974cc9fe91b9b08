/** Checks connection strings for options that would break the migration's guarantees. */
import { isIP } from 'node:net';
import { isLoopbackAddress } from '../lib/addresses.js';

/** One rule on a connection string's options; names are compared without case, values are decoded. */
interface OptionRule {
  readonly option: string;
  readonly allows: (value: string) => boolean;
  readonly reason: string;
}

const is = (expected: string) => (value: string) => value.toLowerCase() === expected;
const never = () => false;

const RULES: readonly OptionRule[] = [
  {
    option: 'readConcernLevel',
    allows: is('majority'),
    reason: 'must be "majority" or left out: anything less may be rolled back after it was copied',
  },
  {
    option: 'w',
    allows: is('majority'),
    reason: 'must be "majority" or left out: a write that is rolled back would be missing on the destination',
  },
  { option: 'journal', allows: is('true'), reason: 'must be true or left out: every write has to survive a crash' },
  { option: 'j', allows: is('true'), reason: 'must be true or left out: every write has to survive a crash' },
  {
    option: 'readPreference',
    allows: is('primary'),
    reason: 'must be "primary" or left out: a secondary may lag behind what was read before',
  },
  { option: 'readPreferenceTags', allows: never, reason: 'is not allowed: everything is read from the primary' },
  {
    option: 'socketTimeoutMS',
    allows: never,
    reason: 'is not allowed: it cuts long reads and index builds; outages are noticed by the monitoring connection',
  },
];

/**
 * Everything wrong with a cluster's connection string, without showing any of it. Looks at its form and at options that
 * would break the migration's guarantees (docs/options.md); whether it connects is the cluster's business.
 */
export function clusterUriProblems(uri: string): string[] {
  const match = /^mongodb(?:\+srv)?:\/\/([^?]*)(?:\?(.*))?$/s.exec(uri);
  if (match === null) return ['must begin with mongodb:// or mongodb+srv://'];
  const [, address = '', query = ''] = match;
  const hosts = address.slice(address.lastIndexOf('@') + 1).split('/', 1)[0];
  const problems: string[] = [];
  if (hosts === '') problems.push('names no host');
  for (const [name, value] of new URLSearchParams(query.replaceAll(';', '&'))) {
    const rule = RULES.find(({ option }) => option.toLowerCase() === name.toLowerCase());
    if (rule !== undefined && !rule.allows(value)) problems.push(`option ${rule.option} ${rule.reason}`);
  }
  return problems;
}

/** Whether an address to listen on can only be reached from this machine. */
export function isLoopback(address: string): boolean {
  return address === 'localhost' || isLoopbackAddress(address);
}

/** Whether an address to listen on was meant as an IP address and is none: 127.0.0.999. */
export function isBadAddress(address: string): boolean {
  return (/^[\d.]+$/.test(address) || address.includes(':')) && isIP(address) === 0;
}

/** Prints the findings of a check as a table. */
import type { CheckResponse, Finding } from '../../gen/mongoferry/v1/sync_service.js';

const MAX_NAMESPACES = 5;

/** A check's findings as a table for people: severity, name, what was found, where, and what to do. */
export function findingsTable({ ok, findings }: CheckResponse): string {
  const verdict = ok ? 'A start with these options would be accepted.' : 'A start with these options would be refused.';
  if (findings.length === 0) return `Nothing found. ${verdict}\n`;
  const nameWidth = Math.max(...findings.map(({ name }) => name.length), 'FINDING'.length);
  const header = `${'SEVERITY'.padEnd(9)} ${'FINDING'.padEnd(nameWidth)} DESCRIPTION\n`;
  return `${header}${findings.map((finding) => row(finding, nameWidth)).join('')}\n${verdict}\n`;
}

function row({ severity, name, description, remedy, namespaces }: Finding, nameWidth: number): string {
  const indent = ' '.repeat(nameWidth + 11);
  const lines = [`${severity.padEnd(9)} ${name.padEnd(nameWidth)} ${description}`];
  if (namespaces.length > 0) lines.push(`${indent}in: ${shorten(namespaces)}`);
  if (remedy !== '') lines.push(`${indent}do: ${remedy}`);
  return `${lines.join('\n')}\n`;
}

function shorten(namespaces: readonly string[]): string {
  const rest = namespaces.length - MAX_NAMESPACES;
  return namespaces.slice(0, MAX_NAMESPACES).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}

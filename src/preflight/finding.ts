/** Declares what a check of a preflight reports. */
import type { ErrorName } from '../errors.js';

/** One preflight finding: a stable name, its severity, what was found and what to do. */
export interface Finding {
  readonly name: string;
  readonly severity: 'blocker' | 'warning';
  readonly description: string;
  readonly remedy: string;
  /** The namespaces concerned, as "database.collection"; empty when it concerns the cluster. */
  readonly namespaces: readonly string[];
}

/** How many namespaces, documents or users a finding names; there may be 50,000. */
export const MAX_NAMED = 20;

/** A finding that refuses a start; its name is a row of the error table. */
export function blocker(
  name: ErrorName,
  description: string,
  remedy: string,
  namespaces: readonly string[] = [],
): Finding {
  return { name, severity: 'blocker', description, remedy, namespaces };
}

/** A finding that an operator should know of. */
export function warning(
  name: string,
  description: string,
  remedy: string,
  namespaces: readonly string[] = [],
): Finding {
  return { name, severity: 'warning', description, remedy, namespaces };
}

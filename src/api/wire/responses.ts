/** Encodes every response but progress. */
import {
  CheckResponse,
  ListMismatchesResponse,
  ListNamespacesResponse,
  RepairResponse,
  StartResponse,
} from '../../../gen/mongoferry/v1/sync_service.js';
import type { Finding } from '../../preflight/finding.js';
import type { Mismatch, NamespaceSnapshot, RepairOutcome } from '../../progress/control.js';
import { toNamespaceProgress } from './progress.js';

/** The encoding of every response without fields. */
export const EMPTY_RESPONSE: Uint8Array = StartResponse.encode({}).finish();

/** An encoded CheckResponse: blockers before warnings, otherwise in the order in which they were found. */
export function encodeCheckResponse(findings: readonly Finding[]): Uint8Array {
  const blockers = findings.filter((finding) => finding.severity === 'blocker');
  const warnings = findings.filter((finding) => finding.severity !== 'blocker');
  return CheckResponse.encode({
    ok: blockers.length === 0,
    findings: [...blockers, ...warnings].map((finding) => ({ ...finding, namespaces: [...finding.namespaces] })),
  }).finish();
}

/** An encoded ListNamespacesResponse. An empty token says that this page is the last. */
export function encodeListNamespacesResponse(page: readonly NamespaceSnapshot[], nextPageToken: string): Uint8Array {
  return ListNamespacesResponse.encode({ namespaces: page.map(toNamespaceProgress), nextPageToken }).finish();
}

/** An encoded ListMismatchesResponse. An empty token says that this page is the last. */
export function encodeListMismatchesResponse(page: readonly Mismatch[], nextPageToken: string): Uint8Array {
  return ListMismatchesResponse.encode({ mismatches: [...page], nextPageToken }).finish();
}

/** An encoded RepairResponse. */
export function encodeRepairResponse({ repaired, remaining }: RepairOutcome): Uint8Array {
  return RepairResponse.encode({ repairedCount: repaired, remainingCount: remaining }).finish();
}

import type { Cluster } from '../cluster/cluster.js';
import { blocker, type Finding } from './finding.js';

/** The options that not every source has what they need for. */
export interface OptionsToSupport {
  readonly buildIndexes: string;
  readonly documentFilter: object | null;
}

/** Options that the source's version does not permit. Source: docs/options.md. */
export function checkOptionSupport(source: Cluster, options: OptionsToSupport): Finding[] {
  const { buildIndexes, documentFilter } = options;
  const rules: readonly (readonly [
    given: boolean,
    option: string,
    needs: readonly [number, number],
    instead: string,
  ])[] = [
    [
      buildIndexes === 'afterDataCopy' || buildIndexes === 'excludeHashedAfterCopy',
      `buildIndexes "${buildIndexes}"`,
      [6, 0],
      'Use "beforeDataCopy", "excludeHashed" or "never".',
    ],
    // Its commit reads the source as of the commit time, which 4.4 cannot do.
    [documentFilter !== null, 'documentFilter', [5, 0], 'Leave it out, or upgrade the source first.'],
  ];
  return rules
    .filter(([given, , needs]) => given && !source.isAtLeast(...needs))
    .map(([, option, needs, instead]) =>
      blocker(
        'OptionNotSupported',
        `${option} needs a source of MongoDB ${needs.join('.')} or later; ${source.label} runs ${source.facts.versionText}`,
        instead,
      ),
    );
}

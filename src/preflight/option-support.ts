/** Checks that both servers support the options of a start. */
import type { Cluster } from '../cluster/cluster.js';
import type { ClusterFacts } from '../cluster/facts.js';
import { blocker, type Finding } from './finding.js';

/** The options that not every pair of servers has what they need for. */
export interface OptionsToSupport {
  readonly buildIndexes: string;
  readonly documentFilter: object | null;
  readonly blocksSource: boolean;
  readonly reversible: boolean;
}

interface Rule {
  readonly given: boolean;
  readonly option: string;
  /** The source's version. */
  readonly needs: readonly [number, number];
  readonly instead: string;
}

/** What is asked of a cluster here. */
export type VersionedCluster = Pick<Cluster, 'isAtLeast' | 'label'> & {
  readonly facts: Pick<ClusterFacts, 'version' | 'versionText'>;
};

/** Options that the servers' versions do not permit. Source: docs/options.md. */
export function checkOptionSupport(
  source: VersionedCluster,
  destination: VersionedCluster,
  options: OptionsToSupport,
): Finding[] {
  const { versionText } = source.facts;
  const findings = rules(options)
    .filter(({ given, needs }) => given && !source.isAtLeast(...needs))
    .map(({ option, needs, instead }) =>
      blocker(
        'OptionNotSupported',
        `${option} needs MongoDB ${needs.join('.')} or later on the source; ${source.label} runs ${versionText}`,
        instead,
      ),
    );
  if (options.reversible && release(source) !== release(destination)) {
    findings.push(
      blocker(
        'OptionNotSupported',
        `reversible needs the same release on both sides, not ${versionText} and ${destination.facts.versionText}`,
        'Start without it, or bring both to one release first.',
      ),
    );
  }
  return findings;
}

function rules({ buildIndexes, documentFilter, blocksSource, reversible }: OptionsToSupport): Rule[] {
  return [
    {
      given: buildIndexes === 'afterDataCopy' || buildIndexes === 'excludeHashedAfterCopy',
      option: `buildIndexes "${buildIndexes}"`,
      needs: [6, 0],
      instead: 'Use "beforeDataCopy", "excludeHashed" or "never".',
    },
    {
      given: blocksSource,
      option: 'enableUserWriteBlocking "sourceAndDestination"',
      needs: [6, 0],
      instead: 'Start with "destinationOnly", and stop the applications before the commit.',
    },
    { given: reversible, option: 'reversible', needs: [6, 0], instead: 'Start without it.' },
    {
      // Its commit reads the source as of the commit time, which 4.4 cannot do.
      given: documentFilter !== null,
      option: 'documentFilter',
      needs: [5, 0],
      instead: 'Leave it out, or upgrade the source first.',
    },
  ];
}

function release({ facts }: VersionedCluster): string {
  const [major, minor] = facts.version;
  return `${major}.${minor}`;
}

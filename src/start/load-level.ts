/** Sets by `--loadLevel` how much a migration asks of the clusters and of this process. Sizes in bytes. */
export interface Load {
  readonly parallelRanges: number;
  /** Ranges that are compared at the same time, by the verifier. */
  readonly parallelComparisons: number;
  readonly lanes: number;
  readonly parallelBuilds: number;
  /** Documents of the copy between being read and being written. */
  readonly copyBytes: number;
  /** Change events between being read and being safe. */
  readonly windowBytes: number;
  readonly connections: number;
}

const MB = 1024 * 1024;

const LEVELS: readonly Load[] = [
  {
    parallelRanges: 1,
    parallelComparisons: 1,
    lanes: 1,
    parallelBuilds: 1,
    copyBytes: 24 * MB,
    windowBytes: 16 * MB,
    connections: 16,
  },
  {
    parallelRanges: 2,
    parallelComparisons: 1,
    lanes: 2,
    parallelBuilds: 2,
    copyBytes: 32 * MB,
    windowBytes: 20 * MB,
    connections: 32,
  },
  {
    parallelRanges: 4,
    parallelComparisons: 2,
    lanes: 4,
    parallelBuilds: 4,
    copyBytes: 64 * MB,
    windowBytes: 24 * MB,
    connections: 64,
  },
  {
    parallelRanges: 8,
    parallelComparisons: 4,
    lanes: 8,
    parallelBuilds: 8,
    copyBytes: 128 * MB,
    windowBytes: 64 * MB,
    connections: 128,
  },
];

/** The load of a level from 1 to 4. */
export function loadOf(level: number): Load {
  return LEVELS[level - 1] ?? (LEVELS[2] as Load);
}

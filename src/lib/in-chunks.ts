/** Cuts items into runs of at most `count` items and `bytes` bytes; one that is larger than that goes alone. */
export function* inChunks<T>(
  items: readonly T[],
  count: number,
  bytes: number,
  sizeOf: (item: T) => number,
): Generator<T[]> {
  let portion: T[] = [];
  let held = 0;
  for (const item of items) {
    const size = sizeOf(item);
    if (portion.length > 0 && (portion.length >= count || held + size > bytes)) {
      yield portion;
      portion = [];
      held = 0;
    }
    portion.push(item);
    held += size;
  }
  if (portion.length > 0) yield portion;
}

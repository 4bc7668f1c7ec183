/** How many letters must be put in, left out, changed, or swapped with the next one to make one word of another. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next[j] = Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1),
        isSwapped ? before[j - 2]! + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [before, row] = [row, next];
  }
  return row[b.length]!;
}

/** The known word that was probably meant; null when none is near. A third of the letters may be wrong, at most two. */
export function nearWord(word: string, known: readonly string[]): string | null {
  const most = Math.min(2, Math.floor(word.length / 3));
  const near = known
    .filter((one) => one !== word && Math.abs(one.length - word.length) <= most)
    .slice(0, 200)
    .map((one) => ({ one, far: distance(word.slice(0, 64), one.slice(0, 64)) }))
    .filter(({ far }) => far <= most)
    .sort((a, b) => a.far - b.far || (a.one < b.one ? -1 : 1));
  return near[0]?.one ?? null;
}

/** `; did you mean kang?`, or nothing. */
export const didYouMean = (word: string, known: readonly string[]): string => {
  const near = nearWord(word, known);
  return near === null ? '' : `; did you mean ${near}?`;
};

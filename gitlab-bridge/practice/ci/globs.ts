/**
 * File names by Ruby's `File.fnmatch?` with PATHNAME, DOTMATCH and EXTGLOB, as `rules:changes`, `rules:exists` and `only:changes` compare them:
 * a star stops at a slash, a leading double star with a slash is any folders, braces are alternatives.
 */
const maxAlternatives = 1000;

/** `a{b,c}` is `ab` and `ac`; with a brace that is not closed it fits nothing. `left`: so many more, those that fit nothing included. */
const alternatives = (glob: string, left = { count: maxAlternatives }): string[] => {
  let depth = 0;
  let open = -1;
  const commas: number[] = [];
  for (let at = 0; at < glob.length; at += 1) {
    const sign = glob[at];
    if (sign === '\\') at += 1;
    else if (sign === '{') {
      if (depth === 0) open = at;
      depth += 1;
    } else if (sign === ',' && depth === 1) commas.push(at);
    else if (sign === '}' && depth > 0) {
      depth -= 1;
      if (depth > 0) continue;
      const cuts = [open, ...commas, at];
      const [head, tail] = [glob.slice(0, open), glob.slice(at + 1)];
      return cuts
        .slice(1)
        .flatMap((end, index) =>
          left.count > 0 ? alternatives(`${head}${glob.slice((cuts[index] as number) + 1, end)}${tail}`, left) : [],
        );
    }
  }
  left.count -= 1;
  return depth > 0 ? [] : [glob];
};

type Part = 'folders' | 'some' | ((sign: string) => boolean);

/** Null for what is no pattern. */
const partsOf = (glob: string): Part[] | null => {
  const parts: Part[] = [];
  for (let at = 0; at < glob.length; at += 1) {
    const sign = glob[at] as string;
    const begins = at === 0 || glob[at - 1] === '/';
    if (begins && glob.startsWith('**/', at)) {
      parts.push('folders');
      at += 2;
    } else if (sign === '*') {
      while (glob[at + 1] === '*') at += 1;
      parts.push('some');
    } else if (sign === '?') parts.push((one) => one !== '/');
    else if (sign === '[') {
      const set = /^\[([!^]?)((?:\\.|[^\]\\])+)\]/.exec(glob.slice(at));
      const shape = set && setOf(set[1] as string, set[2] as string);
      if (set === null || shape === null) return null;
      parts.push((one) => one !== '/' && shape.test(one));
      at += set[0].length - 1;
    } else {
      if (sign === '\\' && at + 1 < glob.length) at += 1;
      const own = glob[at];
      parts.push((one) => one === own);
    }
  }
  return parts;
};

const setOf = (not: string, signs: string): RegExp | null => {
  try {
    return new RegExp(`^[${not === '' ? '' : '^'}${signs.replace(/[[\]^]/g, '\\$&')}]$`, 's');
  } catch {
    return null;
  }
};

/** All places of the path at once, part by part: a pattern of many stars takes no longer than its length times the path's. */
const fits = (parts: readonly Part[], path: string): boolean => {
  let at: boolean[] = [true, ...Array<boolean>(path.length).fill(false)];
  for (const part of parts) {
    const next = typeof part === 'string' ? [...at] : [false];
    // For folders: one that is not empty has begun where this part may begin.
    let isIn = false;
    for (let end = 1; end <= path.length; end += 1) {
      const sign = path[end - 1] as string;
      if (typeof part !== 'string') next.push(at[end - 1] === true && part(sign));
      else if (part === 'some') next[end] ||= next[end - 1] === true && sign !== '/';
      else if (sign === '/') {
        next[end] ||= isIn;
        isIn = false;
      } else isIn ||= next[end - 1] === true;
    }
    at = next;
  }
  return at[path.length] === true;
};

/** Whether any of the globs fits any of the paths. A glob that is no pattern at all fits nothing. */
export const anyMatches = (globs: readonly string[], paths: readonly string[]): boolean =>
  globs
    .flatMap((glob) => alternatives(glob))
    .some((glob) => {
      if (!/[*?[\\]/.test(glob)) return paths.includes(glob);
      const parts = partsOf(glob);
      return parts !== null && paths.some((path) => fits(parts, path));
    });

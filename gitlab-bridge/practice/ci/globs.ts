/**
 * File names by Ruby's `File.fnmatch?` with PATHNAME, DOTMATCH and EXTGLOB, as `rules:changes`, `rules:exists` and `only:changes` compare them:
 * a star stops at a slash, a leading double star with a slash is any folders, braces are alternatives.
 */
const maxAlternatives = 1000;

/** `a{b,c}` is `ab` and `ac`; with a brace that is not closed it fits nothing. */
const alternatives = (glob: string): string[] => {
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
        .flatMap((end, index) => alternatives(`${head}${glob.slice((cuts[index] as number) + 1, end)}${tail}`))
        .slice(0, maxAlternatives);
    }
  }
  return depth > 0 ? [] : [glob];
};

const escaped = (sign: string): string => sign.replace(/[\\^$.|?+()[\]{}*/-]/, '\\$&');

const shapeOf = (glob: string): string => {
  let shape = '';
  for (let at = 0; at < glob.length; at += 1) {
    const sign = glob[at] as string;
    const begins = at === 0 || glob[at - 1] === '/';
    if (begins && glob.startsWith('**/', at)) {
      shape += '(?:[^/]+/)*';
      at += 2;
    } else if (sign === '*') {
      while (glob[at + 1] === '*') at += 1;
      shape += '[^/]*';
    } else if (sign === '?') shape += '[^/]';
    else if (sign === '[') {
      const set = /^\[([!^]?)((?:\\.|[^\]\\])+)\]/.exec(glob.slice(at));
      if (set === null) return '(?!)';
      const inside = (set[2] as string).replace(/[[\]^]/g, '\\$&');
      shape += `(?!/)[${set[1] === '' ? '' : '^'}${inside}]`;
      at += set[0].length - 1;
    } else if (sign === '\\' && at + 1 < glob.length) {
      at += 1;
      shape += escaped(glob[at] as string);
    } else shape += escaped(sign);
  }
  return shape;
};

/** Whether any of the globs fits any of the paths. A glob that is no pattern at all fits nothing. */
export const anyMatches = (globs: readonly string[], paths: readonly string[]): boolean =>
  globs.flatMap(alternatives).some((glob) => {
    if (!/[*?[\\]/.test(glob)) return paths.includes(glob);
    let shape: RegExp;
    try {
      shape = new RegExp(`^${shapeOf(glob)}$`, 's');
    } catch {
      return false;
    }
    return paths.some((path) => shape.test(path));
  });

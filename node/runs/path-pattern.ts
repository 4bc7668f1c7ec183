/**
 * Paths of artifacts as GitLab means them (doublestar): `*` and `?` stay within one folder's names, `**` crosses folders,
 * `[a-z]` and `{a,b/c}` choose, `\` takes the next character as it is. Patterns come from whoever can write a
 * `.gitlab-ci.yml`, so a match costs at most the pattern's length times the name's: there is no regular expression here,
 * and no backtracking but to the last star. Pure.
 */
export interface PathPattern {
  /** Folders (or files) before the first wildcard, one an alternative: what has to be read. `.` for the whole tree. */
  roots: string[];
  /** The path itself. */
  matches(path: string, meter?: Meter): boolean;
  /** The path, or a folder that it lies in: a pattern that names a folder takes everything below it. */
  takes(path: string, meter?: Meter): boolean;
}

/** Counts comparisons, so that a test can bound them. */
export interface Meter {
  steps: number;
}

export const patternLimits = { characters: 1024, stars: 64, alternatives: 256 } as const;

type Token = { kind: 'star' } | { kind: 'any' } | { kind: 'literal'; code: number } | CharacterClass;
interface CharacterClass {
  kind: 'class';
  negated: boolean;
  ranges: [number, number][];
}
/** A folder's or file's name of a pattern; `**` stands for any number of folders. */
type Segment = '**' | Token[];

class BadPattern extends Error {}

/**
 * `projectDir`: an absolute pattern that lies in it counts from there. A pattern that cannot be used gives the reason, as
 * words that follow its name.
 */
export function pathPattern(pattern: string, projectDir = ''): PathPattern | { problem: string } {
  try {
    const alternatives = expandBraces(pattern).map((text) => segmentsOf(text, projectDir));
    const run = (path: string, below: boolean, meter?: Meter): boolean => {
      const names = path.split('/');
      return alternatives.some((segments) => matchPath(segments, names, below, meter));
    };
    return {
      roots: [...new Set(alternatives.map(rootOf))],
      matches: (path, meter) => run(path, false, meter),
      takes: (path, meter) => run(path, true, meter),
    };
  } catch (error) {
    if (error instanceof BadPattern) return { problem: error.message };
    throw error;
  }
}

const codesOf = (text: string): number[] => Array.from(text, (char) => char.codePointAt(0) as number);

/** `{a,b}` written out, from the outside in. Braces may nest and may hold slashes. */
function expandBraces(pattern: string): string[] {
  if (pattern.length > patternLimits.characters)
    throw new BadPattern(`is longer than ${patternLimits.characters} characters`);
  if (pattern.includes('\0')) throw new BadPattern('holds a NUL');
  const done: string[] = [];
  const open = [pattern];
  for (let text = open.pop(); text !== undefined; text = open.pop()) {
    const braces = firstBraces(text);
    if (braces === null) done.push(text);
    else {
      const { start, end, commas } = braces;
      const cuts = [start, ...commas, end];
      for (let at = cuts.length - 1; at > 0; at--)
        open.push(
          text.slice(0, start) +
            text.slice((cuts[at - 1] as number) + 1, cuts[at] as number) +
            text.slice((end as number) + 1),
        );
    }
    if (done.length + open.length > patternLimits.alternatives)
      throw new BadPattern(`stands for more than ${patternLimits.alternatives} alternatives`);
  }
  for (const text of done)
    if ((text.match(/\*/g)?.length ?? 0) > patternLimits.stars)
      throw new BadPattern(`has more than ${patternLimits.stars} stars`);
  return done;
}

function firstBraces(text: string): { start: number; end: number; commas: number[] } | null {
  let depth = 0;
  let start = -1;
  const commas: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '[') at = classEnd(text, at);
    else if (char === '{' && depth++ === 0) start = at;
    else if (char === ',' && depth === 1) commas.push(at);
    else if (char === '}') {
      if (depth === 0) throw new BadPattern('has a } without a {');
      if (--depth === 0) return { start, end: at, commas };
    }
  }
  if (depth > 0) throw new BadPattern('has a { without a }');
  return null;
}

/** Where a class ends; it holds at least one character and no slash. */
function classEnd(text: string, start: number): number {
  let at = start + 1;
  if (text[at] === '!' || text[at] === '^') at++;
  for (const first = at; at < text.length && text[at] !== '/'; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === ']' && at > first) return at;
    else if (text[at] === ']') break;
  }
  throw new BadPattern('has a [ that nothing closes (write \\[ for the character itself)');
}

function segmentsOf(text: string, projectDir: string): Segment[] {
  let parts = resolved(text.split('/'));
  if (text.startsWith('/')) {
    const base = projectDir.split('/').filter((part) => part !== '');
    const isInside = base.length > 0 && base.every((part, at) => unescaped(parts[at] ?? '') === part);
    if (!isInside) throw outside();
    parts = parts.slice(base.length);
  }
  return parts.map((part) => (part === '**' ? '**' : tokensOf(part)));
}

const outside = (): BadPattern => new BadPattern("is outside of the project's folder");

/** Without `.` and empty names, and each `..` with the name before it: by the words alone, whatever is a link there. */
function resolved(parts: readonly string[]): string[] {
  const left: string[] = [];
  for (const part of parts) {
    const name = unescaped(part);
    if (name === '' || name === '.') continue;
    if (name !== '..') left.push(part);
    else if (left.pop() === undefined) throw outside();
  }
  return left;
}

const unescaped = (part: string): string => part.replace(/\\(.)/gsu, '$1');

function tokensOf(part: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < part.length; at++) {
    const char = part[at] as string;
    if (char === '*') {
      if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' });
    } else if (char === '?') tokens.push({ kind: 'any' });
    else if (char === '[') {
      const end = classEnd(part, at);
      tokens.push(classOf(part.slice(at + 1, end)));
      at = end;
    } else {
      if (char === '\\' && ++at >= part.length) throw new BadPattern('ends with a \\');
      const code = part.codePointAt(at) as number;
      if (code > 0xffff) at++;
      tokens.push({ kind: 'literal', code });
    }
  }
  return tokens;
}

function classOf(inside: string): CharacterClass {
  const negated = inside.startsWith('!') || inside.startsWith('^');
  const chars: { code: number; isEscaped: boolean }[] = [];
  const codes = codesOf(negated ? inside.slice(1) : inside);
  for (let at = 0; at < codes.length; at++) {
    const isEscaped = codes[at] === 0x5c;
    if (isEscaped && ++at >= codes.length) throw new BadPattern('has a [ that nothing closes');
    chars.push({ code: codes[at] as number, isEscaped });
  }
  const ranges: [number, number][] = [];
  for (let at = 0; at < chars.length; at++) {
    const from = (chars[at] as { code: number }).code;
    const dash = chars[at + 1];
    const to = chars[at + 2];
    if (dash && to && dash.code === 0x2d && !dash.isEscaped) {
      ranges.push([from, to.code]);
      at += 2;
    } else ranges.push([from, from]);
  }
  return { kind: 'class', negated, ranges };
}

/** The names before the first wildcard. */
function rootOf(segments: Segment[]): string {
  const fixed: string[] = [];
  for (const segment of segments) {
    if (segment === '**') break;
    const codes = segment.map((token) => (token.kind === 'literal' ? token.code : -1));
    if (codes.includes(-1)) break;
    fixed.push(String.fromCodePoint(...codes));
  }
  return fixed.length === 0 ? '.' : fixed.join('/');
}

/** All places in the pattern that the names so far can lead to, moved on name by name: each pair is looked at once. */
function matchPath(segments: Segment[], names: string[], below: boolean, meter?: Meter): boolean {
  const last = segments.length;
  let places = reach(segments, new Set([0]));
  if (below && places.has(last)) return true;
  for (const name of names) {
    const next = new Set<number>();
    let codes: number[] | null = null;
    for (const place of places) {
      const segment = segments[place];
      if (segment === undefined) continue;
      if (meter) meter.steps++;
      if (segment === '**') {
        next.add(place);
        continue;
      }
      codes ??= codesOf(name);
      if (matchName(segment, codes, meter)) next.add(place + 1);
    }
    places = reach(segments, next);
    if (places.size === 0) return false;
    if (below && places.has(last)) return true;
  }
  return places.has(last);
}

/** `**` also stands for no folder at all. */
function reach(segments: Segment[], places: Set<number>): Set<number> {
  // A set that grows is walked to its new end too.
  for (const place of places) if (segments[place] === '**') places.add(place + 1);
  return places;
}

/** One name: after a mismatch only the last star can take one character more, so it goes back to that and no further. */
function matchName(tokens: Token[], name: number[], meter?: Meter): boolean {
  let at = 0;
  let token = 0;
  let star = -1;
  let from = 0;
  while (at < name.length) {
    if (meter) meter.steps++;
    const wanted = tokens[token];
    if (wanted?.kind === 'star') {
      star = token++;
      from = at;
    } else if (wanted && matchCode(wanted, name[at] as number, meter)) {
      at++;
      token++;
    } else if (star >= 0) {
      token = star + 1;
      at = ++from;
    } else return false;
  }
  while (tokens[token]?.kind === 'star') token++;
  return token === tokens.length;
}

function matchCode(token: Token, code: number, meter?: Meter): boolean {
  if (token.kind === 'literal') return token.code === code;
  if (token.kind !== 'class') return token.kind === 'any';
  if (meter) meter.steps += token.ranges.length;
  return token.negated !== token.ranges.some(([from, to]) => from <= code && code <= to);
}

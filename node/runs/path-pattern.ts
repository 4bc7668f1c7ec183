/**
 * Paths of artifacts as GitLab means them (doublestar): `*` and `?` stay within one folder's names, `**` crosses folders,
 * `[a-z]` and `{a,b}` choose. A pattern that names a folder takes everything below it. Pure.
 */
export interface PathPattern {
  /** The folder (or file) before the first wildcard: what has to be read. `.` for the whole tree. */
  root: string;
  matches(path: string): boolean;
}

/** Null for a pattern that leaves the tree. */
export function pathPattern(pattern: string): PathPattern | null {
  const parts = pattern.split('/').filter((part) => part !== '' && part !== '.');
  if (pattern.startsWith('/') || parts.includes('..')) return null;
  const wild = parts.findIndex((part) => /[*?[{]/.test(part));
  const fixed = wild === -1 ? parts : parts.slice(0, wild);
  const shape = new RegExp(`^${parts.map(partSource).join('/').replaceAll('(?:.*)/', '(?:.*/)?')}(?:/.*)?$`, 's');
  return {
    root: fixed.length === 0 ? '.' : fixed.join('/'),
    matches: parts.length === 0 ? () => true : (path) => shape.test(path),
  };
}

function partSource(part: string): string {
  if (part === '**') return '(?:.*)';
  let source = '';
  let depth = 0;
  for (let at = 0; at < part.length; at++) {
    const char = part[at] as string;
    if (char === '*') source += '[^/]*';
    else if (char === '?') source += '[^/]';
    else if (char === '[' && part.indexOf(']', at + 1) > at) {
      const end = part.indexOf(']', at + 1);
      const inside = part.slice(at + 1, end).replace(/[\\[\]]/g, '\\$&');
      source += `[${inside.startsWith('!') ? `^${inside.slice(1)}` : inside}]`;
      at = end;
    } else if (char === '{') {
      source += '(?:';
      depth++;
    } else if (char === '}' && depth > 0) {
      source += ')';
      depth--;
    } else if (char === ',' && depth > 0) source += '|';
    else source += char.replace(/[\\^$.|+()[\]{}*?/-]/g, '\\$&');
  }
  return source + ')'.repeat(depth);
}

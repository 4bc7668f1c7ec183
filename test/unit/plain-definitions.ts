// What two matchers of ours must mean, written for readers and not for speed: tests hold the fast ones against these.

/** The meaning in the fewest words, without a care for time. */
export function simplyMatches(pattern: string, path: string): boolean {
  if (pattern === '') return path === '';
  if (pattern.startsWith('**/')) {
    if (simplyMatches(pattern.slice(3), path)) return true;
    const slash = path.indexOf('/');
    return slash >= 0 && simplyMatches(pattern, path.slice(slash + 1));
  }
  if (pattern[0] === '*')
    return (
      simplyMatches(pattern.slice(1), path) || (path !== '' && path[0] !== '/' && simplyMatches(pattern, path.slice(1)))
    );
  if (pattern.startsWith('[')) {
    const end = pattern.indexOf(']');
    const isIn = path !== '' && pattern.slice(1, end).includes(path[0] as string);
    return isIn && simplyMatches(pattern.slice(end + 1), path.slice(1));
  }
  if (path === '') return false;
  const isSame = pattern[0] === '?' ? path[0] !== '/' : pattern[0] === path[0];
  return isSame && simplyMatches(pattern.slice(1), path.slice(1));
}

/** The plain definition: every byte of every occurrence stands under a mark; overlapping occurrences share one. */
export function simplyMasked(text: string, secrets: string[], prefixes: string[]): string {
  const spans: [from: number, to: number, shown: string][] = [];
  for (const secret of secrets)
    for (let at = text.indexOf(secret); at !== -1; at = text.indexOf(secret, at + 1))
      spans.push([at, at + secret.length, '']);
  for (const prefix of prefixes)
    for (let at = text.indexOf(prefix); at !== -1; at = text.indexOf(prefix, at + 1)) {
      const token = /^[A-Za-z0-9_.=-]+/.exec(text.slice(at + prefix.length));
      if (token) spans.push([at, at + prefix.length + token[0].length, '']);
    }
  const parameters =
    /[?&](?:private_token|authenticity_token|rss_token|x-amz-signature|x-amz-credential|x-amz-security-token)=/gi;
  for (const { index, 0: name } of text.matchAll(parameters)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them is in an address
    const value = /^[^?&\x00-\x20\x7f]+/.exec(text.slice(index + name.length));
    if (value) spans.push([index, index + name.length + value[0].length, name]);
  }
  spans.sort((a, b) => a[0] - b[0]);
  let out = '';
  let end = 0;
  for (const [from, to, shown] of spans) {
    if (from >= end) out += `${text.slice(end, from)}${shown}[MASKED]`;
    end = Math.max(end, to);
  }
  return out + text.slice(end);
}

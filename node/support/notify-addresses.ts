/** What of an address stands behind its host. */
const behindHost = /\bhttps?:\/\/[^\s/?#"']+(\/[^\s"',}\]]+|\?[^\s"',}\]]+)/g;

/**
 * Behind the hosts of those that `health.notify` of autogit.yml has the mesh tell: whoever knows the topic of ntfy, or the path of a
 * webhook or a heartbeat, may read or write there, so that none of it is ever shown (`node/notices/notice-target.ts`). By lines alone:
 * a file with a mistake in it is what somebody asks about.
 */
export function notifyAddresses(yaml: string): string[] {
  const found: string[] = [];
  let section: number | null = null;
  for (const line of yaml.split(/\r?\n/)) {
    const [, blanks = '', rest = ''] = /^([ \t]*)(.*)$/.exec(line) ?? [];
    const isWithin = rest === '' || rest.startsWith('#') || section === null || blanks.length > section;
    // YAML lets the items of a list stand as far left as its key.
    if (!isWithin && !(blanks.length === section && rest.startsWith('-'))) section = null;
    if (/^(?:# *)?["']?notify["']?[ \t]*:/.test(rest) || /^health[ \t]*:.*\bnotify\b/.test(rest))
      section ??= blanks.length;
    if (section !== null) for (const [, behind = ''] of line.matchAll(behindHost)) found.push(behind);
  }
  return found;
}

import { AutogitError } from '../../protocol/errors.ts';

const proxy =
  'GitLab itself speaks http in this version: put a proxy with a certificate before its port (docs/host-gitlab.md, "Behind a proxy")';

/** By which all reach a hosted GitLab: a name of DNS or an address of IPv4. Throws `bad-flag` with what to write instead. */
export function checkHostname(text: string): void {
  const fail = (sentence: string, instead: string): never => {
    throw new AutogitError('bad-flag', `"${text}" ${sentence}; ${instead}`);
  };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  const bare = scheme === undefined ? text : text.slice(scheme.length + 3);
  const host = /^(\[[^\]]*\]|[^/:]*)/.exec(bare)?.[1] ?? bare;
  if (scheme === 'https') fail('is an address for https', `${proxy}, and write the name alone, ${host}`);
  if (/^\[?[\da-f]*:[\da-f]*:[\da-f:.]*(%\w+)?\]?(:\d+|\/|$)/i.test(bare))
    fail(
      'is an address of IPv6, and this version names GitLab by a name or an address of IPv4',
      'write a name of your DNS that leads there, as its gate listens on IPv6 too',
    );
  if (scheme !== undefined || bare !== host)
    fail('is more than a name', `write the name alone, ${host}, and its port by --port`);
  if (text.length > 253 || !/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text))
    fail('is no name of a host', 'write gitlab.lan or 192.168.1.10');
}

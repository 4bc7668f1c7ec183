import { isIPv6 } from 'node:net';
import { AutogitError } from '../../protocol/errors.ts';

const own = /^(?:::|::1|fe[89ab][0-9a-f]:.*)$/;

/** Null for a name, and for an address of IPv4; else as a URL has it between its brackets, which may stand there already. */
export function ipv6In(host: string): string | null {
  const bare = /^\[(.*)\]$/.exec(host)?.[1] ?? host;
  return isIPv6(bare) && !bare.includes('%') ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : null;
}

/**
 * By which all reach a hosted GitLab: a name of DNS or an address, behind `https://` where its gate shall speak TLS. Throws `bad-flag`
 * with what to write instead.
 */
export function checkHostname(text: string): void {
  const fail = (sentence: string, instead: string): never => {
    throw new AutogitError('bad-flag', `"${text}" ${sentence}; ${instead}`);
  };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  const bare = scheme === undefined ? text : text.slice(scheme.length + 3);
  const ipv6 = ipv6In(bare);
  if (/^\[?fe[89ab][0-9a-f]:/i.test(bare) || (ipv6 !== null && own.test(ipv6)))
    fail('is an address that no other machine can use', 'write one of the LAN, as ip -6 addr show scope global has it');
  if (ipv6 !== null) return;
  const host = /^(\[[^\]]*\]|[^/:]*)/.exec(bare)?.[1] ?? bare;
  const isSecure = scheme === 'https';
  if ((scheme !== undefined && !isSecure) || bare !== host)
    fail('is more than a name', `write ${isSecure ? 'https://' : 'the name alone, '}${host}, and its port by --port`);
  if (bare.length > 253 || !/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(bare))
    fail('is no name of a host', 'write gitlab.lan or 192.168.1.10');
}

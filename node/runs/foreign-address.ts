import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { SourcesFailure } from './git-command.ts';

/** What a job in a container could not reach, and the agent can: its own machine's, and what only this link knows. */
const own = new BlockList();
own.addSubnet('127.0.0.0', 8, 'ipv4');
own.addSubnet('0.0.0.0', 8, 'ipv4');
own.addSubnet('169.254.0.0', 16, 'ipv4');
own.addSubnet('::', 127, 'ipv6');
own.addSubnet('fe80::', 10, 'ipv6');

/** An IPv4 address that is written as one of IPv6 is checked as what it is. */
const isOwn = (address: string): boolean => own.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/**
 * host:port:address of a server that a repository names, for git. The agent fetches for the job: no repository may send it to
 * what only this machine reaches, also not by a name that leads there at the second look. Throws SourcesFailure.
 */
export async function foreignAddress(url: string): Promise<string> {
  const { hostname, port, protocol } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const found = await lookup(host, { all: true }).catch((cause: Error) => {
    throw new SourcesFailure(`could not resolve host ${host}: ${cause.message}`, false);
  });
  if (found.length === 0 || found.some(({ address }) => isOwn(address)))
    throw new SourcesFailure(
      `${host} is this machine itself: submodules come from GitLab, or from another machine`,
      false,
    );
  const { address, family } = found[0] as (typeof found)[number];
  const shown = family === 6 ? `[${address}]` : address;
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}:${shown}`;
}

import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';

/** How this machine's name servers know a host: `none` is their word that there is no such name, `unknown` is none. */
type Known = 'found' | 'none' | 'unknown';
export type LookUp = (host: string) => Promise<Known>;

const lookUpMs = 2_000;
/** Asked of the name servers alone: a file of this machine, or mDNS, says nothing of whether they answer. */
const lookUp: LookUp = async (host) => {
  const resolver = new Resolver({ timeout: lookUpMs, tries: 2 });
  const one = (ask: Promise<string[]>): Promise<Known> =>
    ask.then(
      () => 'found',
      ({ code }: NodeJS.ErrnoException) => (code === 'ENOTFOUND' || code === 'ENODATA' ? 'none' : 'unknown'),
    );
  const four = await one(resolver.resolve4(host));
  return four === 'none' ? one(resolver.resolve6(host)) : four;
};

/** Known to name servers of one LAN, if to any: another machine of the mesh may have others. */
const ofLan = /\.(?:lan|local|localdomain|home|internal|intranet|corp|private|test|home\.arpa)$/i;
const isPublic = (host: string): boolean => host.includes('.') && isIP(host) === 0 && !ofLan.test(host);

/**
 * The engine found no host of that name. True where that is how the job wrote it, which no other machine can mend: the name servers of
 * this machine say so of a public name, and know others. Else this machine's names may be what is wrong (SAFETY J10).
 */
export async function isNameWrong(registry: string, others: readonly string[], ask: LookUp = lookUp): Promise<boolean> {
  const host = registry.replace(/:\d+$/, '');
  if (!isPublic(host) || (await ask(host)) !== 'none') return false;
  for (const other of others) if (other !== host && isPublic(other) && (await ask(other)) === 'found') return true;
  return false;
}

import { isIP } from 'node:net';
import { isLoopback } from '../loopback.ts';

/** Pure decisions about who may talk to the door at all: Host (DNS rebinding) and, for acts, Origin and content (CSRF). */

interface Head {
  host: string | undefined;
  origin: string | undefined;
  contentType: string | undefined;
  /** What pages of other sites cannot send without being asked first, and nobody is let. */
  own: string | undefined;
  fetchSite: string | undefined;
}

/** Names that only a LAN gives, so that nobody outside can point one here. */
const lanEndings = ['local', 'lan', 'home', 'internal', 'localdomain', 'home.arpa'];

const hostOf = (host: string): string | null => {
  const [, six, name] = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(host) ?? [];
  return (six ?? name)?.toLowerCase().replace(/\.$/, '') ?? null;
};

const plain = (address: string): string => address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');

/**
 * A page of another site whose name was made to lead here (DNS rebinding) still sends that name. Taken are: the very address
 * that was reached, loopback's names, this machine's own name, bare or with an ending that only a LAN gives, and what its owner named.
 */
export function isOurHost(host: string | undefined, reached: string, names: readonly string[]): boolean {
  const name = host === undefined ? null : hostOf(host);
  if (name === null) return false;
  if (isIP(name) !== 0) return name === plain(reached) || (isLoopback(name) && isLoopback(plain(reached)));
  if (name === 'localhost') return isLoopback(plain(reached));
  return names.some((one) => {
    const own = one.toLowerCase();
    return name === own || (!own.includes('.') && lanEndings.some((ending) => name === `${own}.${ending}`));
  });
}

/** Null: it comes from our own page. Else why not. A key needs none of it: no browser sends one by itself. */
export function whyForeign({ host, origin, contentType, own, fetchSite }: Head): string | null {
  if (own !== 'page') return 'it does not say that it comes of our page (x-autogit: page)';
  if (fetchSite !== undefined && fetchSite !== 'same-origin') return 'the page of another site asks for it';
  if (origin === undefined) return 'it does not say which page asks (Origin)';
  // Behind a proxy that speaks https the scheme is another one; host and port are never.
  if (origin !== `http://${host}` && origin !== `https://${host}`) return 'the page of another site asks for it';
  return isJson(contentType) ? null : 'it is no JSON (Content-Type)';
}

export const isJson = (type: string | undefined): boolean => /^application\/json *(;|$)/i.test(type ?? '');

/** Those of this name: a page on another port of this machine may have put one of its own beside ours. */
export function cookiesNamed(name: string, header: string | undefined): string[] {
  return (header ?? '')
    .slice(0, 16_384)
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part.startsWith(`${name}=`))
    .map((part) => part.slice(name.length + 1));
}

/** `/s/ID/api/status` is asked in the name of the session ID. */
export function partsOf(path: string): { session: string | null; path: string } {
  const [, session, rest] = /^\/s\/([\w-]{22})(\/.*)?$/.exec(path) ?? [];
  return session === undefined ? { session: null, path } : { session, path: rest ?? '' };
}

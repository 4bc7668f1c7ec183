import type { Answer } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';

export const refused = (because: string): Answer => ({ kind: 'refused', because: asSentence(because) });

/** What is refused in words goes back as such. */
export async function answered(act: () => string | Answer | Promise<string | Answer>): Promise<Answer> {
  try {
    const done = await act();
    return typeof done === 'string' ? { kind: 'said', because: asSentence(done) } : done;
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    const { code, message, hint } = error;
    return { kind: 'failed', code, because: asSentence(message), hint: asSentence(hint) };
  }
}

/** An address of the LAN, where it has one: people type it, and other machines. */
export function hostAddress(addresses: readonly string[]): string {
  const all = addresses.flatMap((one) => /^\/ip4\/([\d.]+)\//.exec(one)?.[1] ?? []);
  return all.find((one) => !one.startsWith('127.')) ?? all[0] ?? '127.0.0.1';
}

/** By which GitLab of this machine would be reached: `ipv6` where there is nothing else. */
export function reachedAt(network: { addresses(): string[] }): { hostname: string; ipv6?: string } {
  const all = network.addresses();
  const ipv6 = hostIpv6(all);
  return { hostname: hostAddress(all), ...(ipv6 !== undefined && { ipv6 }) };
}

/** One of IPv6 that others reach, where it has none of IPv4 for that. */
function hostIpv6(addresses: readonly string[]): string | undefined {
  if (!hostAddress(addresses).startsWith('127.')) return undefined;
  return addresses
    .flatMap((one) => /^\/ip6\/([0-9a-f:]+)\//.exec(one)?.[1] ?? [])
    .find((one) => one !== '::1' && !/^fe[89ab]/.test(one));
}

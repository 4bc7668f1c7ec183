import { type Answer, decode, encode, type Question } from 'dns-packet';

/*
 * What is said by mDNS (RFC 6762) of the one name that leads to the mesh's GitLab. Each packet of ours has a text beside its addresses
 * that says which machine speaks, so that ours are told from a stranger's who has that name.
 */

/** Seconds that others may remember it: so long after a move it may lead to the machine of before. */
const ttlSeconds = 10;
const mark = 'autogit=';
/** Authoritative, as mDNS asks of every answer. */
const authoritative = 1 << 10;

/** Of one interface of this machine. */
export interface NameAddresses {
  v4: readonly string[];
  v6: readonly string[];
}

const records = (name: string, node: string, { v4, v6 }: NameAddresses, ttl: number, flush: boolean): Answer[] => {
  const own = { name, class: 'IN', ttl, flush } as const;
  return [
    ...v4.map((data): Answer => ({ ...own, type: 'A', data })),
    ...v6.map((data): Answer => ({ ...own, type: 'AAAA', data })),
    { ...own, type: 'TXT', data: `${mark}${node}` },
  ];
};

/** What there is not of that name, so that nobody waits for it (§6.1). */
const missing = (name: string, { v4, v6 }: NameAddresses): Answer[] =>
  v4.length > 0 && v6.length > 0
    ? []
    : [
        {
          ...({ name, type: 'NSEC', class: 'IN', ttl: ttlSeconds, flush: true } as const),
          data: {
            nextDomain: name,
            rrtypes: [...(v4.length > 0 ? ['A'] : []), 'TXT', ...(v6.length > 0 ? ['AAAA'] : [])],
          },
        } as unknown as Answer,
      ];

/** To everybody: what others knew of that name is over (§10.2). */
export const nameAnswer = (name: string, node: string, at: NameAddresses): Uint8Array =>
  encode({
    ...{ type: 'response', id: 0, flags: authoritative },
    answers: records(name, node, at, ttlSeconds, true),
    additionals: missing(name, at),
  });

/** To somebody who asks as one asks a DNS server (§6.7). */
export const plainAnswer = (name: string, node: string, at: NameAddresses, asked: Asked): Uint8Array =>
  encode({
    ...{ type: 'response', id: asked.id, flags: authoritative, questions: asked.questions },
    answers: records(name, node, at, ttlSeconds, false),
  });

/** This machine answers no more (§10.1). */
export const nameGoodbye = (name: string, node: string, at: NameAddresses): Uint8Array =>
  encode({ type: 'response', id: 0, flags: authoritative, answers: records(name, node, at, 0, false) });

/** Whether anybody has that name (§8.1). */
export const nameProbe = (name: string): Uint8Array =>
  // The package's types leave this one out.
  encode({ type: 'query', id: 0, questions: [{ name, type: 'ANY' as 'A', class: 'IN' }] });

export interface Asked {
  kind: 'asked';
  id: number;
  questions: Question[];
  /** The addresses that who asks knows already, and that are young enough. */
  known: string[];
}

type Heard =
  | Asked
  /** Somebody says that the name is at these addresses. `node`: which machine of a mesh says it; null: a stranger. */
  | { kind: 'said'; addresses: string[]; node: string | null }
  | null;

/** What a packet says of that name; null for all the rest, rubbish included. */
export function heardOf(name: string, packet: Buffer): Heard {
  // Nearly all packets of a LAN are of other names, and to read one costs a tenth of a ms.
  if (
    !packet
      .toString('latin1')
      .toLowerCase()
      .includes(name.split('.')[0] as string)
  )
    return null;
  try {
    const { type, id = 0, questions = [], answers = [], additionals = [] } = decode(packet);
    const isIt = (one: { name: string }): boolean => one.name.toLowerCase() === name;
    const all = [...answers, ...additionals].filter(isIt);
    const at = (least: number): string[] =>
      all.flatMap((one) => ((one.type === 'A' || one.type === 'AAAA') && (one.ttl ?? 0) >= least ? [one.data] : []));
    if (type === 'query') {
      const asked = questions.filter((one) => isIt(one) && ['A', 'AAAA', 'ANY'].includes(one.type));
      return asked.length === 0 ? null : { kind: 'asked', id, questions: asked, known: at(ttlSeconds / 2) };
    }
    const addresses = at(1);
    const texts = all.flatMap((one) => (one.type === 'TXT' ? [one.data].flat().map(String) : []));
    const node = texts.find((text) => text.startsWith(mark))?.slice(mark.length, mark.length + 64) ?? null;
    return addresses.length === 0 ? null : { kind: 'said', addresses, node };
  } catch {
    return null;
  }
}

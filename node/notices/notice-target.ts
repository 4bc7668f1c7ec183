import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
import { isMailAddress } from '../settings/mail-address.ts';

/** What is needed to tell somebody; in the ledger it is sealed for the voters. */
export const TargetWay = z.strictObject({
  /** Null: it needs no address. */
  url: z.string().max(2048).nullable(),
  /** Password, token, or the key by which what comes is known to be ours. */
  secret: z.string().min(1).max(1024).optional(),
  /** Of mail. */
  to: z.string().max(254).optional(),
  from: z.string().max(254).optional(),
});
export type TargetWay = z.infer<typeof TargetWay>;

interface Kind {
  /** Schemes of its address; empty: it has none. */
  schemes: readonly string[];
  example: string;
  /** What the secret is; null: it takes none. */
  secret: string | null;
  /** Its address is a secret as a whole. */
  isSecret?: boolean;
  /** Mail goes to somebody there. */
  hasPeople?: boolean;
  /** The path must be of this form. */
  path?: { pattern: RegExp; sentence: string };
  /** What people see of it. */
  shown(url: URL | null, to?: string): string;
}

const http = ['http:', 'https:'];
/** Whatever stands behind the host may be a secret: so it is never shown. */
const hostOf = (url: URL | null): string =>
  url === null ? '' : `${url.protocol}//${url.host}${url.pathname === '/' && url.search === '' ? '' : '/…'}`;

export const targetKinds: Readonly<Record<string, Kind>> = {
  log: { schemes: [], example: '', secret: null, shown: () => 'agent.log of the machine that leads' },
  webhook: { schemes: http, example: 'https://home.lan/notices', secret: 'the key of its signature', shown: hostOf },
  ntfy: {
    schemes: http,
    example: 'https://ntfy.lan/mesh',
    secret: 'an access token (tk_…), or user:password',
    path: { pattern: /^(?:\/[\w.-]+)*\/[-_A-Za-z0-9]{1,64}$/, sentence: 'the address of ntfy ends with the topic' },
    shown: hostOf,
  },
  slack: {
    schemes: http,
    example: 'https://hooks.slack.com/services/…',
    secret: null,
    isSecret: true,
    path: { pattern: /^\/.+/, sentence: 'the address of an incoming webhook has a path' },
    shown: hostOf,
  },
  mail: {
    schemes: ['smtp:', 'smtps:'],
    example: 'smtps://user@mail.lan --to me@home.lan',
    secret: 'the password of its user',
    hasPeople: true,
    shown: (url, to) => `${url?.protocol}//${url?.host} to ${to}`,
  },
  homeassistant: {
    schemes: ['mqtt:', 'mqtts:'],
    example: 'mqtt://user@broker.lan:1883',
    secret: 'the password of its user',
    shown: (url) => `${url?.protocol}//${url?.host}`,
  },
  heartbeat: {
    schemes: http,
    example: 'https://hc-ping.com/…',
    secret: null,
    isSecret: true,
    path: { pattern: /^\/.+/, sentence: 'the address of a heartbeat has a path' },
    shown: hostOf,
  },
};

/** Kinds that are told again and again that the mesh is there, whatever else they are told. */
export const hasBeats = (kind: string): boolean => kind === 'heartbeat' || kind === 'homeassistant';
/** And those that are told nothing else. */
export const isBeatAlone = (kind: string): boolean => kind === 'heartbeat';

const kindNamed = (kind: string): Kind => {
  const known = Object.hasOwn(targetKinds, kind) ? targetKinds[kind] : undefined;
  if (known === undefined)
    throw new AutogitError('bad-flag', `nobody can be told by "${kind}"`, {
      hint: `one of ${Object.keys(targetKinds).join(', ')}: autogit-node notify add --help`,
    });
  return known;
};

/** Tokens stand in a query, or are a long word of a path: such an address must not be in an argument, where other users of the machine read it. */
const looksSecret = (url: URL): boolean =>
  url.password !== '' || url.search !== '' || url.pathname.split('/').some((word) => /^[\w-]{20,}$/.test(word));

interface GivenTarget {
  url: string | null;
  secret: string | null;
  to?: string | null | undefined;
  from?: string | null | undefined;
}

/** `isArgument`: the address stood in the command line. Throws `bad-flag` with the fix; no message has the address itself in it. */
export function checkTarget(
  kind: string,
  { url: text, secret, to = null, from = null }: GivenTarget,
  isArgument: boolean,
): { way: TargetWay; shown: string } {
  const known = kindNamed(kind);
  const again = `autogit-node notify add ${kind}`;
  if (known.schemes.length === 0 && text !== null)
    throw new AutogitError('bad-flag', `${kind} takes no address`, { hint: again });
  if (known.secret === null && secret !== null)
    throw new AutogitError('bad-flag', `${kind} takes no secret`, { hint: `${again} ${known.example}`.trim() });
  if (known.schemes.length > 0 && text === null)
    throw new AutogitError('bad-flag', `${kind} needs an address`, {
      hint: known.isSecret ? `put it into VAR, then: ${again} --url-env VAR` : `${again} ${known.example}`,
    });
  const url = text === null ? null : urlOf(kind, text.trim(), known);
  if (url !== null && isArgument && (known.isSecret || looksSecret(url)))
    throw new AutogitError(
      'bad-flag',
      `that address of ${kind} has a secret in it, which others on this machine could read`,
      {
        hint: `put it into a variable or a file: ${again} --url-env VAR, or --url-file FILE`,
      },
    );
  checkPeople(kind, known, to, from, again);
  const people = { ...(to !== null && { to }), ...(from !== null && { from }) };
  const parsed = TargetWay.safeParse({
    url: url?.href ?? null,
    ...(secret !== null && { secret: secret.trim() }),
    ...people,
  });
  if (!parsed.success)
    throw new AutogitError('bad-flag', 'the address or the secret is empty or too long', { hint: `${again} --help` });
  return { way: parsed.data, shown: known.shown(url, to ?? undefined).slice(0, 200) };
}

function checkPeople(
  kind: string,
  { hasPeople, example }: Kind,
  to: string | null,
  from: string | null,
  again: string,
) {
  if (hasPeople && to === null)
    throw new AutogitError('bad-flag', `${kind} needs somebody to write to`, { hint: `${again} ${example}` });
  if (!hasPeople && (to ?? from) !== null)
    throw new AutogitError('bad-flag', `--to and --from are of mail alone`, { hint: `${again} ${example}`.trim() });
  for (const one of [to, from])
    if (one !== null && !isMailAddress(one))
      throw new AutogitError('bad-flag', `"${one.slice(0, 80)}" is no address of mail`, {
        hint: `${again} ${example}`,
      });
}

/** As it is read by whoever logs in with it. */
function isCoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function urlOf(kind: string, text: string, { schemes, example, path }: Kind): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !schemes.includes(url.protocol) || url.hostname === '')
    throw new AutogitError('bad-flag', `that is no address of ${kind}`, {
      hint: `it is of the form ${example}`,
    });
  if (!isCoded(url.username) || !isCoded(url.password))
    throw new AutogitError(
      'bad-flag',
      `the user or the password in that address of ${kind} has a % that stands for nothing`,
      {
        hint: 'in an address % is written %25, @ is %40, / is %2F',
      },
    );
  if (path && !path.pattern.test(url.pathname))
    throw new AutogitError('bad-flag', path.sentence, { hint: `it is of the form ${example}` });
  return url;
}

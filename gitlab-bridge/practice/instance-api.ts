import { BlockList, isIPv6 } from 'node:net';
import { z } from 'zod';
import { admin, authenticate } from './access.ts';
import { type Answer, type Call, created, empty, idOf, ok, type Route, read, route } from './api-call.ts';
import { iso } from './practice-clock.ts';
import type { PracticeContext } from './practice-context.ts';
import { practiceRevision, practiceVersion } from './practice-identity.ts';
import { userShape } from './project-shapes.ts';
import type { PersonalToken, User } from './records.ts';
import { notFound, refuse, refuseWith } from './refusal.ts';
import { newPersonalToken } from './secrets.ts';

/** Who may ask the probes: everybody else gets 404. GitLab's default is this machine. */
export const monitoringList = (ranges: readonly string[]): ((address: string) => boolean) => {
  const list = new BlockList();
  for (const range of ranges) {
    const [address, bits] = range.split('/') as [string, string | undefined];
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
  }
  return (address) => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
};

const tokenScopes = [
  'api',
  'read_api',
  'read_user',
  'create_runner',
  'manage_runner',
  'read_repository',
  'write_repository',
  'admin_mode',
  'sudo',
] as const;

export const createToken = (
  context: PracticeContext,
  user: User,
  { name, scopes, expiresOn }: Pick<PersonalToken, 'name' | 'scopes' | 'expiresOn'>,
): string => {
  const token = newPersonalToken();
  const id = Math.max(0, ...user.tokens.map((one) => one.id)) + 1;
  user.tokens.push({ id, name, token, scopes, ...(expiresOn !== undefined && { expiresOn }) });
  context.state.saveUser(user);
  return token;
};

const dayMs = 86_400_000;
/** Days: what a token may live at most, and lives after a rotation that names no day. */
const [mostDays, rotatedDays] = [365, 7];
const rotateBody = z.object({ expires_at: z.iso.date().optional() });

/** The day so many days from now. */
const dayIn = (context: PracticeContext, days: number): string =>
  iso(context.state.clock.now() + days * dayMs).slice(0, 10);

/** Refuses as GitLab does what is over already or would live too long. */
function allowedEnd(context: PracticeContext, day: string): string {
  if (day <= dayIn(context, 0)) throw refuse(400, 'Expiration date must be after today');
  if (day > dayIn(context, mostDays))
    throw refuse(400, `Expiration date must be before ${dayIn(context, mostDays + 1)}`);
  return day;
}

/** The token that this very request came with. */
function ownToken(user: User, call: Call): PersonalToken {
  const given = call.headers['private-token'];
  const own = user.tokens.find(({ token }) => token === given);
  if (own === undefined) throw refuseWith(400, 'the token is of another kind');
  return own;
}

const tokenBody = z.object({
  name: z.string().min(1).max(255),
  scopes: z.array(z.enum(tokenScopes)).min(1),
  expires_at: z.iso.date().optional(),
});

/** What a personal token may do about itself. */
const ownTokenRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  return [
    route('GET', '/api/v4/personal_access_tokens/self', (call) => {
      const { user, scopes } = authenticate(state, call, ['read_user']);
      const own = ownToken(user, call);
      return ok({
        id: own.id,
        name: own.name,
        revoked: false,
        scopes,
        user_id: user.id,
        active: true,
        expires_at: own.expiresOn ?? null,
      });
    }),
    route('DELETE', '/api/v4/personal_access_tokens/self', (call) => {
      const { user } = authenticate(state, call, ['api']);
      const own = ownToken(user, call);
      user.tokens = user.tokens.filter((one) => one !== own);
      state.saveUser(user);
      return empty();
    }),
    route('POST', '/api/v4/personal_access_tokens/self/rotate', (call) => {
      const { user } = authenticate(state, call, ['self_rotate']);
      const own = ownToken(user, call);
      const body = read(rotateBody, call.body);
      const expiresOn = allowedEnd(context, body.expires_at ?? dayIn(context, rotatedDays));
      const token = createToken(context, user, { ...own, expiresOn });
      user.tokens = user.tokens.filter((one) => one !== own);
      state.saveUser(user);
      const id = user.tokens.at(-1)?.id;
      return ok({
        id,
        name: own.name,
        scopes: own.scopes,
        user_id: user.id,
        expires_at: expiresOn,
        token,
      });
    }),
  ];
};

export const instanceRoutes = (context: PracticeContext, monitors: (address: string) => boolean): Route[] => {
  const { state } = context;
  const probe = (path: string, answer: () => Answer): Route =>
    route('GET', path, (call) => (monitors(call.remote) ? answer() : { status: 404, html: '<h1>404</h1>' }), {
      kind: 'page',
    });
  const metadata = (call: Call): Answer => {
    authenticate(state, call, ['read_user']);
    return ok({
      version: practiceVersion,
      revision: practiceRevision,
      kas: { enabled: false, externalUrl: null, externalK8sProxyUrl: null, version: null },
      enterprise: false,
    });
  };
  return [
    probe('/-/health', () => ({ status: 200, text: 'GitLab OK' })),
    probe('/-/liveness', () => ok({ status: 'ok' })),
    probe('/-/readiness', () => ok({ status: 'ok', master_check: [{ status: 'ok' }] })),
    probe('/health_check', () => ({ status: 200, text: 'success' })),
    route('GET', '/api/v4/version', metadata),
    route('GET', '/api/v4/metadata', metadata),
    route('GET', '/api/v4/user', (call) => ok(userShape(authenticate(state, call, ['read_user']).user, call.base))),
    ...ownTokenRoutes(context),
    route('POST', '/api/v4/users/:user_id/personal_access_tokens', (call) => {
      admin(state, call);
      const body = read(tokenBody, call.body);
      const user = state.user(idOf(call, 'user_id'));
      if (user === undefined) throw notFound('User');
      const { name, scopes, expires_at: day } = body;
      const ends = day === undefined ? {} : { expiresOn: allowedEnd(context, day) };
      const token = createToken(context, user, { name, scopes, ...ends });
      const id = user.tokens.length;
      const now = iso(state.clock.now());
      return created({
        id,
        name: body.name,
        revoked: false,
        created_at: now,
        scopes: body.scopes,
        user_id: user.id,
        active: true,
        expires_at: body.expires_at ?? null,
        token,
      });
    }),
  ];
};

import { randomBytes } from 'node:crypto';
import { AutogitError } from '../../protocol/errors.ts';
import { factsInside } from './gitlab-inside.ts';
import { rubyText } from './omnibus-config.ts';
import type { ServiceHost } from './service-host.ts';

/** What a first boot leaves for the mesh. Nothing of it stands in an argument, a log or an environment. */
interface FirstSetup {
  /** The password that was read is root's now: data that were taken up may have another one. */
  isRootPassword: boolean;
  token: string;
  instance: string | null;
  version: string;
}

/** `gitlab-rails` begins all of Rails for one line: minutes on a small machine. */
const railsMs = 600_000;
const passwordFile = '/etc/gitlab/initial_root_password';

/** Twenty characters of 62 are 119 bits. */
const newToken = (): string => {
  const letters = [...randomBytes(64)].filter((byte) => byte < 248).map((byte) => byte % 62);
  const text = letters.slice(0, 20).map((at) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'[at]);
  return `glpat-${text.join('')}`;
};

/** In Ruby. GitLab's longest life of a token is a year; the keeper makes another in time. */
const making = (name: string, token: string): string =>
  `t=User.find_by_username('root').personal_access_tokens.create(name: ${rubyText(name)}, scopes: ['api','admin_mode','sudo'], expires_at: 365.days.from_now)
t.set_token('${token}')
t.save!
`;

/** All of that name but the newest. */
const revoking = (name: string): string =>
  `User.find_by_username('root').personal_access_tokens.active.where(name: ${rubyText(name)}).order(:id).to_a[0...-1].each(&:revoke!)
`;

/** Of a password that stands in a file since the first boot. */
const holds = 'autogit: the first password holds';
const asking = (password: string): string =>
  `puts '${holds}' if User.find_by_username('root').valid_password?(${rubyText(password)})
`;

const tokenName = (mesh: string): string => `autogit-node ${mesh.replace(/[^\w .-]/g, '').slice(0, 100)}`;

/** By its input: what stands among arguments is read by everybody on the machine. `secrets` are taken out of its words. */
async function rails(host: ServiceHost, id: string, code: string, secrets: readonly string[]): Promise<string> {
  const { code: status, out } = await host.exec(id, ['gitlab-rails', 'runner', '-'], {
    input: code,
    timeoutMs: railsMs,
  });
  if (status === 0) return out;
  const words = secrets
    .reduce((text, secret) => text.replaceAll(secret, '[secret]'), out)
    .trim()
    .split('\n')
    .slice(-3)
    .join(' ')
    .slice(-300);
  throw new AutogitError('gitlab-answer', `gitlab-rails ended with ${status}: ${words}`);
}

/**
 * A token of root's, made without the UI, and GitLab's word that it is an admin's. Asked again it makes another. In the same start of
 * Rails, which takes a minute, it is asked whether `password` is root's.
 */
export async function makeAdminToken(
  host: ServiceHost,
  id: string,
  mesh: string,
  password: string | null,
): Promise<FirstSetup> {
  const token = newToken();
  const code = making(tokenName(mesh), token) + (password === null ? '' : asking(password));
  const said = await rails(host, id, code, password === null ? [token] : [token, password]);
  return { isRootPassword: said.includes(holds), token, ...(await factsInside(host, id, token)) };
}

/** Once the mesh goes by the newest. */
export async function revokeOlderTokens(host: ServiceHost, id: string, mesh: string): Promise<void> {
  await rails(host, id, revoking(tokenName(mesh)), []);
}

/** The password that GitLab made up for root; null when the file is gone, or somebody gave another one. */
export async function readRootPassword(host: ServiceHost, id: string): Promise<string | null> {
  const { code, out } = await host.exec(id, ['cat', passwordFile], { timeoutMs: 10_000 });
  return code === 0 ? (/^Password: (\S+)$/m.exec(out)?.[1] ?? null) : null;
}

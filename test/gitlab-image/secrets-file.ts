import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** /etc/gitlab/gitlab-secrets.json: in no backup of GitLab's; without it tokens do not verify (contract §7). */
const path = '/etc/gitlab/gitlab-secrets.json';
const fields = new Set(['token', 'registrationToken', 'jobKey']);
const mark = 'encrypted:';

export function makeSecretsFile(): void {
  if (existsSync(path)) return;
  const text = JSON.stringify({ gitlab_rails: { db_key_base: randomBytes(32).toString('hex') } }, null, 2);
  writeFileSync(path, `${text}\n`, { mode: 0o600 });
}

let known: Buffer | null = null;
function key(): Buffer {
  known ??= Buffer.from(
    process.env.STAND_IN_KEY ??
      (JSON.parse(readFileSync(path, 'utf8')) as { gitlab_rails: { db_key_base: string } }).gitlab_rails.db_key_base,
    'hex',
  );
  return known;
}

/** What processes of another user than root get in their environment. */
export const secretOfFile = (): string => key().toString('hex');

function hide(text: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key(), nonce);
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return mark + Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64');
}

/** Null when it was hidden by another secrets file. */
export function show(hidden: string): string | null {
  const bytes = Buffer.from(hidden.slice(mark.length), 'base64');
  try {
    const cipher = createDecipheriv('aes-256-gcm', key(), bytes.subarray(0, 12));
    cipher.setAuthTag(bytes.subarray(12, 28));
    return Buffer.concat([cipher.update(bytes.subarray(28)), cipher.final()]).toString('utf8');
  } catch {
    return null;
  }
}

export const isHidden = (value: unknown): value is string => typeof value === 'string' && value.startsWith(mark);

function each(value: unknown, change: (name: string, text: string) => string, name = ''): unknown {
  if (typeof value === 'string') return change(name, value);
  if (Array.isArray(value)) return value.map((one) => each(one, change, name));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([field, one]) => [field, each(one, change, field)]));
}

export const hideSecrets = (record: unknown): unknown =>
  each(record, (name, text) => (fields.has(name) && text !== '' ? hide(text) : text));

/** A token that cannot be read is one that nobody has. */
export const showSecrets = (record: unknown): unknown =>
  each(record, (_, text) => (isHidden(text) ? (show(text) ?? `unreadable-${randomBytes(12).toString('hex')}`) : text));

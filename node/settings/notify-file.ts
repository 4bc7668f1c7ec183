import type { Note } from './settings-note.ts';

/** One that `health.notify` of autogit.yml has the mesh tell. `missing`: the variable that it names is not set. */
export interface FileTarget {
  kind: string;
  url: string;
  secret: string | null;
  /** Of mail: to whom, and from whom; absent: the file does not say. */
  to?: string;
  from?: string;
  missing: string | null;
}

/** Kinds that a file may name; the log has everything anyway. */
export const fileKinds: ReadonlySet<string> = new Set([
  ...['webhook', 'ntfy', 'slack', 'mail', 'homeassistant', 'heartbeat'],
]);

/** What the keys of `health.notify` that are obeyed come to. */
export function notifyTargets(notes: readonly Note[], env: Readonly<Record<string, string | undefined>>): FileTarget[] {
  const items = new Map<string, Map<string, string>>();
  for (const { key, text, topic, fate } of notes) {
    const [, item, word] = /^(health\.notify\[\d+\])\.(\w+)$/.exec(key) ?? [];
    if (topic !== 'notify' || fate !== 'obeyed' || item === undefined || word === undefined) continue;
    items.set(item, (items.get(item) ?? new Map<string, string>()).set(word, text));
  }
  return [...items.values()].flatMap((said): FileTarget[] => {
    const kind = said.get('type') ?? '';
    if (!fileKinds.has(kind)) return [];
    const [urlEnv, secretEnv] = [said.get('url_env'), said.get('secret_env')];
    const missing = [urlEnv, secretEnv].find((name) => name !== undefined && (env[name] ?? '').trim() === '') ?? null;
    const url = (urlEnv === undefined ? said.get('url') : env[urlEnv])?.trim() ?? '';
    const secret = secretEnv === undefined ? null : (env[secretEnv]?.trim() ?? null);
    const [to, from] = [said.get('to'), said.get('from')];
    return [{ kind, url, secret, missing, ...(to !== undefined && { to }), ...(from !== undefined && { from }) }];
  });
}

import { AutogitError } from '../../protocol/errors.ts';
import { isMailAddress } from './mail-address.ts';
import type { Flag } from './settings-flag.ts';
import type { Fate, Topic } from './settings-note.ts';
import { parseText } from './settings-value.ts';

/** Kinds of values that no flag of ours has. */
type OwnKind = 'version' | 'url' | 'notice-url' | 'mail' | 'cores' | 'variable' | 'host' | 'cron';

export interface SeedKey {
  /** `[]` is each item of a list, `*` any name. */
  readonly path: string;
  readonly kind: Flag['kind'] | OwnKind;
  readonly choices?: readonly string[];
  readonly topic: Topic;
  /** `entry`: of one machine, and obeyed there. `notify`: by the way that it names. `setting`: it is the one of ours in `as`. */
  readonly fate: Fate | 'entry' | 'notify' | 'setting';
  readonly as?: string;
}

const key = (
  path: string,
  kind: SeedKey['kind'],
  topic: Topic,
  fate: SeedKey['fate'],
  choices?: readonly string[],
): SeedKey => ({ path, kind, topic, fate, ...(choices && { choices }) });

/** One that is a setting of ours by another name. */
const setting = (path: string, kind: SeedKey['kind'], as: string, choices?: readonly string[]): SeedKey => ({
  ...key(path, kind, 'hosting', 'setting', choices),
  as,
});

const entry = (list: string): SeedKey[] => [
  key(`${list}[].name`, 'text', 'machines', 'entry'),
  key(`${list}[].host`, 'host', 'machines', 'entry'),
  key(`${list}[].executor`, 'choice', 'machines', 'entry', ['docker', 'process']),
  key(`${list}[].concurrent`, 'count', 'machines', 'entry'),
  key(`${list}[].gpu`, 'text', 'gpus', 'entry'),
  key(`${list}[].capabilities`, 'list', 'machines', 'entry'),
];

/** Every key of the autogit.yml that users of the seed design have. Whoever makes one come true changes its line here. */
export const seedKeys: readonly SeedKey[] = [
  key('version', 'version', 'settings', 'obeyed'),
  setting('gitlab.hostname', 'text', 'gitlab.hostname'),
  setting('gitlab.external_url', 'url', 'gitlab.hostname'),
  setting('gitlab.ports.http', 'port', 'gitlab.port'),
  setting('gitlab.ports.https', 'port', 'gitlab.port'),
  setting('gitlab.ports.ssh', 'port', 'gitlab.sshPort'),
  setting('gitlab.resources.preset', 'choice', 'gitlab.preset', ['minimal', 'homelab', 'team', 'beast']),
  key('gitlab.resources.cpu', 'cores', 'hosting', 'not yet'),
  key('gitlab.resources.memory', 'size', 'hosting', 'not yet'),
  key('mirroring.enabled', 'switch', 'mirroring', 'not yet'),
  key('mirroring.sources.*.username', 'text', 'mirroring', 'not yet'),
  key('mirroring.sources.*.token_env', 'variable', 'mirroring', 'not yet'),
  key('mirroring.schedule', 'cron', 'mirroring', 'not yet'),
  ...entry('runners.cpu'),
  ...entry('runners.gpu'),
  key('health.check_interval', 'duration', 'health', 'mesh'),
  key('health.reconcile_interval', 'duration', 'health', 'mesh'),
  key('health.self_heal', 'switch', 'health', 'mesh'),
  key('health.notify[].type', 'text', 'notify', 'notify'),
  key('health.notify[].url', 'notice-url', 'notify', 'notify'),
  key('health.notify[].url_env', 'variable', 'notify', 'notify'),
  key('health.notify[].secret_env', 'variable', 'notify', 'notify'),
  key('health.notify[].to', 'mail', 'notify', 'notify'),
  key('health.notify[].from', 'mail', 'notify', 'notify'),
];

const isUrl = (text: string, protocol = /^https?:$/): boolean =>
  URL.canParse(text) && protocol.test(new URL(text).protocol);
const noticeProtocol = /^(?:https?|smtps?|mqtts?):$/;

const own: Record<OwnKind, { holds: (text: string) => boolean; sentence: string }> = {
  version: { holds: (text) => /^1(\.0)?$/.test(text), sentence: 'is no version that is known here; write "1.0"' },
  url: { holds: isUrl, sentence: 'is no http(s) address; write http://gitlab.lan:8080' },
  'notice-url': {
    holds: (text) => isUrl(text, noticeProtocol),
    sentence:
      'is no address of somebody to tell; write https://home.lan/notices, smtps://user@mail.lan or mqtt://broker.lan',
  },
  mail: {
    holds: isMailAddress,
    sentence: 'is no address of mail; write me@home.lan',
  },
  cores: { holds: (text) => /^\d{1,4}(\.\d{1,3})?$/.test(text), sentence: 'is no number of cores; write 6 or 1.5' },
  variable: { holds: (text) => /^[A-Za-z_]\w*$/.test(text), sentence: 'is no name of a variable; write GITHUB_TOKEN' },
  host: {
    holds: (text) =>
      /^([\w-]+(\.[\w-]+)*\.?|\[?[\da-f]*:[\da-f:.]+\]?)$/i.test(text.replace(/(?<=^[^:]*|\]):\d{1,5}$/, '')),
    sentence: 'is no host; write 192.168.1.20 or kang.lan',
  },
  cron: {
    holds: (text) => /^(@\w+|[^\s]+(\s+[^\s]+){4})$/.test(text.trim()),
    sentence: 'is no schedule; write "0 */6 * * *"',
  },
};

/** A token that somebody wrote where its variable's name belongs must not be printed. */
const isToken = (text: string): boolean => /^(gh[a-z]_|github_pat_|gl[a-z]{1,8}-)/.test(text);

/** Throws `bad-flag` with a sentence that names neither file nor key. */
export function checkSeedValue({ kind, choices }: SeedKey, value: string | string[]): void {
  const found = own[kind as OwnKind];
  if (found === undefined) {
    parseText({ kind: kind as Flag['kind'], ...(choices && { choices }) }, value);
    return;
  }
  if (Array.isArray(value)) throw new AutogitError('bad-flag', 'it takes one value, not a list');
  if (kind === 'variable' && isToken(value))
    throw new AutogitError(
      'bad-flag',
      'this looks like a token; name the variable that holds it, such as GITHUB_TOKEN',
    );
  if (!found.holds(value)) throw new AutogitError('bad-flag', `"${value}" ${found.sentence}`);
}

/** An address of which a part was left to be filled in: `192.168.1.X`, `<host>`, `https://...`. */
export const isPlaceholder = (text: string): boolean =>
  /^(?=.*[xyzn?*])(\d{1,3}|[xyzn?*]{1,3})(\.(\d{1,3}|[xyzn?*]{1,3})){3}(:\d+)?$/i.test(text) ||
  /^(<.*>|\?+|todo|tbd|changeme|change[-_ ]me|.*(\.\.\.|\u2026))$/i.test(text);

import type { Notice } from '../../protocol/notices.ts';
import { known } from '../../scheduler/notices/severity.ts';
import type { Log } from '../log.ts';
import { sendHeartbeat } from './heartbeat-sender.ts';
import { type Sender, SendFailure } from './notice-sender.ts';
import { sendNtfy } from './ntfy-sender.ts';
import { sendSlack } from './slack-sender.ts';
import { sendWebhook } from './webhook-sender.ts';

const levels = { info: 'info', warn: 'warn', fail: 'error' } as const;

/** As a line of agent.log that can be measured by. */
function logNotice(log: Pick<Log, 'event'>, { id, state, severity, title, text, fix }: Notice): void {
  const because = [title, ...text.split('\n').slice(1), ...(fix === null ? [] : [`-> ${fix}`])].join('; ');
  log.event({ event: 'notice', because, fields: { id, state, severity }, level: levels[known(severity)] });
}

const far =
  (kind: 'mail' | 'homeassistant'): Sender =>
  async (...asked) => {
    const { farSenders } = await import('./far-senders.ts');
    await farSenders[kind](...asked);
  };

/** Who tells by which kind. Throws `SendFailure` for one that only a later version knows. */
export function senderOf(kind: string, log: Pick<Log, 'event'>): Sender {
  const known: Readonly<Record<string, Sender>> = {
    log: async (notice) => {
      if (notice !== null) logNotice(log, notice);
    },
    webhook: sendWebhook,
    ntfy: sendNtfy,
    slack: sendSlack,
    mail: far('mail'),
    homeassistant: far('homeassistant'),
    heartbeat: sendHeartbeat,
  };
  const sender = Object.hasOwn(known, kind) ? known[kind] : undefined;
  if (sender === undefined) throw new SendFailure('the version that leads does not know this kind');
  return sender;
}

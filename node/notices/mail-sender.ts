import { createTransport } from 'nodemailer';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { isLoopback } from '../loopback.ts';
import { type Sender, SendFailure } from './notice-sender.ts';

const timeout = noticeTimings.sendMs;

/** What a server said, without what was sent to it. */
function reasonOf(error: unknown): string {
  const { code, responseCode, message } = error as { code?: string; responseCode?: number; message?: string };
  if (responseCode !== undefined) return `the server answered ${responseCode}${code === undefined ? '' : ` (${code})`}`;
  if (code === 'ECONNREFUSED') return 'connection refused';
  return code ?? message?.slice(0, 120) ?? 'it failed';
}

/** A password goes over TLS alone; where none is needed, TLS where the server has it. One notice has one Message-ID, however often it is sent. */
export const sendMail: Sender = async (notice, way, { mesh, signal }) => {
  if (notice === null) return;
  const url = new URL(way.url ?? '');
  const secure = url.protocol === 'smtps:';
  const user = decodeURIComponent(url.username);
  const pass = way.secret ?? decodeURIComponent(url.password);
  const transport = createTransport({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    requireTLS: !secure && user !== '' && !isLoopback(url.hostname),
    ...(user !== '' && { auth: { user, pass } }),
    ...{ connectionTimeout: timeout, greetingTimeout: timeout, socketTimeout: timeout, dnsTimeout: timeout },
  });
  const close = (): void => transport.close();
  signal.addEventListener('abort', close, { once: true });
  const domain = `${mesh.id.replace(/[^\w-]/g, '')}.autogit-node`;
  try {
    await transport.sendMail({
      from: { name: `autogit-node ${mesh.name}`, address: way.from ?? way.to ?? '' },
      to: way.to ?? '',
      subject: notice.title,
      text: [notice.text, ...(notice.fix === null ? [] : ['', notice.fix]), '', notice.id, ''].join('\n'),
      messageId: `<${notice.id}@${domain}>`,
      ...(notice.incident !== null && { references: `<${notice.incident}@${domain}>` }),
      headers: { 'X-Autogit-Notice': notice.id, 'Auto-Submitted': 'auto-generated' },
      disableFileAccess: true,
      disableUrlAccess: true,
    });
  } catch (error) {
    throw new SendFailure(reasonOf(error));
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
};

import { sendHomeassistant } from './homeassistant-sender.ts';
import { sendMail } from './mail-sender.ts';

/* What brings a library of its own: a file beside the agent (dist/notices.cjs), read when somebody is told so. */

export const farSenders = { mail: sendMail, homeassistant: sendHomeassistant } as const;

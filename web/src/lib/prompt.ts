// Messages as the server takes them.

import type { Attachment, Message, Settings, Thinking } from "./conversation";

export interface WireMessage {
  role: "system" | "user" | "assistant";
  content: string;
  reasoning_content?: string;
  prefix?: boolean;
}

export interface WireRequest {
  model: string;
  messages: WireMessage[];
  stream: true;
  stream_options: { include_usage: true };
  thinking: { type: "enabled" | "disabled" };
  reasoning_effort?: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
}

/** A file as DeepSeek's models were trained to read it. */
export function fileText(file: Attachment): string {
  return `[file name]: ${file.name}\n[file content begin]\n${file.text}\n[file content end]\n`;
}

/** What the model reads of a message. */
export function contentOf(message: Pick<Message, "text" | "files">): string {
  return (message.files ?? []).map(fileText).join("") + message.text;
}

/** The messages of a request that answers the last of `path`, or goes on with it if it is an answer. */
export function wireMessages(path: readonly Message[], system: string): WireMessage[] {
  const messages: WireMessage[] = system.trim() ? [{ role: "system", content: system }] : [];
  path.forEach((message, index) => {
    if (message.role === "user") {
      messages.push({ role: "user", content: contentOf(message) });
      return;
    }
    const last = index === path.length - 1;
    if (!last) {
      messages.push({ role: "assistant", content: message.text });
      return;
    }
    const reasoning = message.reasoning ? { reasoning_content: message.reasoning } : {};
    messages.push({ role: "assistant", content: message.text, ...reasoning, prefix: true });
  });
  return messages;
}

export function wireRequest(
  model: string,
  path: readonly Message[],
  settings: Settings,
  thinking: Thinking,
): WireRequest {
  return {
    model,
    messages: wireMessages(path, settings.system),
    stream: true,
    stream_options: { include_usage: true },
    ...(thinking === "off"
      ? { thinking: { type: "disabled" } }
      : { thinking: { type: "enabled" }, reasoning_effort: thinking }),
    ...(settings.temperature === null ? {} : { temperature: settings.temperature }),
    ...(settings.topP === null ? {} : { top_p: settings.topP }),
    ...(settings.maxTokens === null ? {} : { max_tokens: settings.maxTokens }),
  };
}

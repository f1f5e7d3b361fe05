// Compiled against the types of /openapi.json: what is read and sent here has the types that the API says.
import type { components, operations, webhooks } from "./types";

type Webhook = components["schemas"]["Webhook"];
type Delivery = components["schemas"]["DeliveryDetails"];
type Create = operations["createWebhook"]["requestBody"]["content"]["application/json"];
type Created = operations["createWebhook"]["responses"][201]["content"]["application/json"];
type Send = operations["sendEvent"]["requestBody"]["content"]["application/json"];
type Sent = operations["sendEvent"]["responses"][202]["content"]["application/json"];
type Moved = webhooks["work_item.moved"]["post"]["requestBody"]["content"]["application/json"];

export const create: Create = { project_id: "proj_1", url: "https://example.com/hook", events: ["lead.*"] };

export const send: Send = {
  project_id: "proj_1",
  event_type: "lead.created",
  payload: { lead: { id: "lead_1" } },
  event_id: "lead_1:created",
};

export function idOf(sent: Sent): string {
  return sent.event_id;
}

export function nameOf(webhook: Webhook): string {
  return webhook.description || webhook.url;
}

export function secretOf(created: Created): string {
  return created.secret;
}

export function statuses(delivery: Delivery): (number | null)[] {
  return delivery.attempt_list.map((attempt) => attempt.status_code);
}

export function column(event: Moved): string | undefined {
  return event.type === "work_item.moved" ? event.data.to : undefined;
}

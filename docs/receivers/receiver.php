<?php
// A receiver in plain PHP: WEBHOOK_SECRET=… php -S 127.0.0.1:8000 receiver.php
$key = base64_decode(preg_replace('/^whsec_/', '', getenv('WEBHOOK_SECRET')));
$body = file_get_contents('php://input'); // the bytes as they came
$delivery = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$sent = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';

$genuine = false;
if (preg_match('/^[0-9]{1,12}$/D', $sent) && abs(time() - (int) $sent) <= 300) { // else missing, malformed, or replayed
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$delivery.$sent.$body", $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $given) {
        $genuine = hash_equals($expected, $given) || $genuine;
    }
}
if (!$genuine) {
    http_response_code(401);
    exit;
}
$event = json_decode($body);
if ($event === null) {
    http_response_code(400);
    exit;
}
// For a day at least; in a real application a table with a unique column. 'x' fails if the file is there already.
$seen = @fopen(sys_get_temp_dir() . '/seen-' . hash('sha256', $delivery), 'x');
if ($seen !== false) {
    error_log($event->type); // put it into a queue here, and work later
}
http_response_code(200);
